"""A1, B2-B5, B7: a seeded sample of the kill sweep. All of it: `python -m tests.crash.sweep --all`.

`CRASH_SEED` chooses another sample.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from power_loop.testing.crash import WAYS, Case, CrashReport, Point
from power_loop.testing.crash.everywhere import all_points, once, run, takeovers, twice
from power_loop.testing.crash.jury import Jury
from power_loop.testing.crash.report import Series
from power_loop.testing.crash.ways import TAKEOVER
from tests.crash.plans import ODD, ONCE, SAFE, plan_of
from tests.crash.scenarios import HERE
from tests.crash.sweep import scatter
from tests.crash.two_rounds import NAME, OUTCOMES, WINDOWS

SEED: Final = int(os.environ.get("CRASH_SEED", "2024"))
BY_CHANCE: Final = 10
"""Points a way is tried from, beside those below."""
KILLED: Final = tuple(way for way in WAYS if way != TAKEOVER)

ALWAYS: Final = (
    Point("store.create", 1),
    Point("sql.migrate.1", 3),
    Point("store.put_in_place", 1),
    Point("sql.insert_session", 1),
    Point("store.committed", 1),
    Point("loop.ask", 1),
    Point("loop.calls_started", 1),
    Point("tool.put.started", 1),
    Point("loop.calls_started", 2),
    Point("tool.pay.started", 1),
    Point("tool.pay.ended", 1),
    Point("loop.fold", 1),
    Point("loop.ask", 4),
    Point("sql.fold_message", 2),
    Point("tool.ship.started", 1),
    Point("store.committed", 6),
)
"""One for every window, so that a small sample has them all."""
ALWAYS_TWICE: Final = tuple((Point("tool.pay.started", 1), Point("store.committed", nth)) for nth in (1, 2, 3))
"""With calls in doubt and never started, the recovery dies after each of its first commits."""


@pytest.fixture(scope="module")
def jury() -> Iterator[Jury]:
    with Jury(2) as jury:
        yield jury


@pytest.fixture(scope="module")
def points(jury: Jury) -> list[Point]:
    report = CrashReport(scenario=NAME, seed=SEED)
    points = all_points(jury, NAME, report)
    assert not report.problems
    return points


@pytest.fixture(scope="module")
def report(jury: Jury, points: list[Point]) -> CrashReport:
    """Every way over its own sample, and once more with the recovery killed too."""
    chance = random.Random(SEED)
    report = CrashReport(scenario=NAME, seed=SEED, points=len(points))
    for way in KILLED:
        sample = dict.fromkeys((*ALWAYS, *chance.sample(points, BY_CHANCE)))
        singles = run(jury, report, way, once(NAME, way, sample))
        some = chance.sample(singles, len(singles) // 3)
        doubles = [Case(scenario=NAME, way=way, kills=kills) for kills in ALWAYS_TWICE]
        run(jury, report, f"{way}, again", [*doubles, *twice(some, every=False, chance=chance)])
    return report


VARIED: Final = (1, 4, 8, 10, 16)
"""Folding, a person who decides, two processes on one session, several sessions at once, turns that are stopped."""


def of_way(report: CrashReport, way: str) -> list[Series]:
    return [series for series in report.series if series.name in (way, f"{way}, again")]


@pytest.mark.acceptance("A1", "B2", "B3", "B4", "B5", "B7")
@pytest.mark.parametrize("way", KILLED)
def test_a_client_killed_anywhere_is_recovered(way: str, report: CrashReport) -> None:
    own = CrashReport(scenario=NAME, seed=SEED, points=report.points, series=of_way(report, way))
    own.check()
    assert own.kills >= BY_CHANCE + len(ALWAYS)


@pytest.mark.acceptance("D1")
def test_an_owner_that_hung_and_comes_back_writes_nothing(jury: Jury, points: list[Point]) -> None:
    report = CrashReport(scenario=NAME, seed=SEED, points=len(points))
    run(jury, report, TAKEOVER, takeovers(NAME, points))
    report.check()
    assert report.kills > 20


@pytest.mark.acceptance("A1")
def test_the_sample_hit_every_window(report: CrashReport) -> None:
    report.check(sometimes=WINDOWS | OUTCOMES)


@pytest.mark.acceptance("A1")
def test_the_points_are_those_of_two_rounds_and_a_compaction(points: list[Point]) -> None:
    """What is enumerated is what was meant: statements of every kind, on the way of every kind of call."""
    names = {point.name for point in points}
    assert {"store.create", "sql.begin", "sql.commit", "sql.fold_message", "sql.start_call", "sql.settle_call"} <= names
    assert {f"tool.{name}.started" for name in ("lookup", "put", "pay", "ship")} <= names
    assert Point("sql.migrate.1", 20) in points
    assert Point("loop.calls_started", 4) in points


@pytest.mark.acceptance("A1", "A6", "B2", "B5", "C6", "D1")
@pytest.mark.parametrize("seed", VARIED)
def test_seeded_scenarios_are_recovered(seed: int, jury: Jury) -> None:
    report = scatter(jury, f"{HERE}:seed_{seed}", 20, SEED)
    report.check()
    assert report.kills >= 20


def test_seeds_make_varied_plans_and_the_same_again() -> None:
    plans = [plan_of(seed) for seed in range(1, 41)]
    acts = [act for plan in plans for act in plan.acts]
    assert {len(plan.clients) for plan in plans} == {1, 2}
    assert {plan.in_doubt for plan in plans} == {"report", "retry", "ask"}
    assert min(plan.context_window for plan in plans) < 1000
    assert max(len(wave) for plan in plans for waves in plan.clients for wave in waves) == 3
    assert {act.manner for act in acts} == {"send", "stream"}
    assert {act.stop for act in acts} == {None, "cancel", "stop_event", "request_stop"}
    assert {name for act in acts for wanted in act.rounds for name in wanted} == {*SAFE, *ONCE, *ODD}
    assert any(act.session is None for act in acts)
    assert plans == [plan_of(seed) for seed in range(1, 41)]
