"""A1, B2-B5, B7: a seeded sample of the kill sweep. All of it: `python -m tests.crash.sweep --all`.

`CRASH_SEED` chooses another sample.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import pytest

from power_loop.testing.crash import Point
from tests.crash.case import Case, Verdict
from tests.crash.recoveries import SERIES
from tests.crash.sweep import all_points, once, twice, zombies
from tests.crash.windows import OUTCOMES, WANTED
from tests.crash.worker import Jury

SEED: Final = int(os.environ.get("CRASH_SEED", "2024"))
BY_CHANCE: Final = 10
"""Points a series is killed at, beside those below."""

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
    return all_points(jury)


@pytest.fixture(scope="module")
def verdicts(jury: Jury, points: list[Point]) -> dict[str, list[Verdict]]:
    """Every series over its own sample, and once more with the recovery killed too."""
    chance = random.Random(SEED)
    cases = [
        case for name in SERIES for case in once(name, dict.fromkeys((*ALWAYS, *chance.sample(points, BY_CHANCE))))
    ]
    singles = list(jury.judge(cases))
    some = chance.sample(singles, len(singles) // 3)
    doubles = [Case(series=name, kills=kills) for name in SERIES for kills in ALWAYS_TWICE]
    found: dict[str, list[Verdict]] = {name: [] for name in SERIES}
    for verdict in chain(singles, jury.judge([*doubles, *twice(some, every=False, chance=chance)])):
        found[verdict.case.series].append(verdict)
    return found


def told(failed: Sequence[Verdict]) -> str:
    return "\n".join(f"{verdict.case.command()}\n    " + "\n    ".join(verdict.problems) for verdict in failed)


@pytest.mark.acceptance("A1", "B2", "B3", "B4", "B5", "B7")
@pytest.mark.parametrize("series", SERIES)
def test_a_client_killed_anywhere_is_recovered(series: str, verdicts: dict[str, list[Verdict]]) -> None:
    failed = [verdict for verdict in verdicts[series] if verdict.problems]
    assert not failed, told(failed)
    assert sum(verdict.deaths for verdict in verdicts[series]) >= BY_CHANCE + len(ALWAYS)


@pytest.mark.acceptance("D1")
def test_an_owner_that_hung_and_comes_back_writes_nothing(jury: Jury, points: list[Point]) -> None:
    found = list(jury.judge(zombies(points)))
    failed = [verdict for verdict in found if verdict.problems]
    assert not failed, told(failed)
    assert sum(verdict.deaths for verdict in found) > 20


@pytest.mark.acceptance("A1")
def test_the_sample_hit_every_window(verdicts: dict[str, list[Verdict]]) -> None:
    everything = [verdict for found in verdicts.values() for verdict in found]
    assert {window for verdict in everything for window in verdict.windows} >= WANTED
    assert {outcome for verdict in everything for outcome in verdict.outcomes} >= OUTCOMES


@pytest.mark.acceptance("A1")
def test_the_points_are_those_of_two_rounds_and_a_compaction(points: list[Point]) -> None:
    """What is enumerated is what was meant: statements of every kind, on the way of every kind of call."""
    names = {point.name for point in points}
    assert {"store.create", "sql.begin", "sql.commit", "sql.fold_message", "sql.start_call", "sql.settle_call"} <= names
    assert {f"tool.{name}.started" for name in ("lookup", "put", "pay", "ship")} <= names
    assert Point("sql.migrate.1", 20) in points
    assert Point("loop.calls_started", 4) in points
