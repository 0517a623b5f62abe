"""B8, B6, A1: killed anywhere between a question to people and what follows from their words, all of it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from power_loop.testing.crash import CrashReport, Point
from power_loop.testing.crash.everywhere import all_points, once, run
from power_loop.testing.crash.jury import Jury
from tests.crash.people import NAME

EVERY: Final = ("resume", "retry")
"""Ways that share all points; each of the others takes an eighth of them."""
SOME: Final = ("abort", "recover_resume", "recover_report", "retry_abort", "new_abort", "takeover")
OUTCOMES: Final = {
    "once awaiting_approval -> succeeded",
    "once awaiting_approval -> denied",
    "idempotent awaiting_approval -> succeeded",
    "once started -> reported",
    "waits for somebody",
    "decided, not taken up",
}


@pytest.fixture(scope="module")
def jury() -> Iterator[Jury]:
    with Jury(2) as jury:
        yield jury


@pytest.fixture(scope="module")
def points(jury: Jury) -> list[Point]:
    """From the first call that is asked for on."""
    report = CrashReport(scenario=NAME, seed=1)
    points = all_points(jury, NAME, report)
    assert not report.problems, report.problems
    begun = next(at for at, point in enumerate(points) if point.name == "sql.insert_call")
    return points[begun:]


@pytest.mark.acceptance("B8", "B6", "A1")
def test_a1_killed_while_calls_wait_for_people_exactly_what_was_approved_runs(jury: Jury, points: list[Point]) -> None:
    report = CrashReport(scenario=NAME, seed=1, points=len(points))
    for number, way in enumerate(EVERY):
        run(jury, report, way, once(NAME, way, points[number % 2 :: 2]))
    report.check(sometimes=OUTCOMES)


@pytest.mark.acceptance("B8", "B6", "B7")
@pytest.mark.parametrize("way", SOME)
def test_killed_while_calls_wait_every_way_out_works(way: str, jury: Jury, points: list[Point]) -> None:
    report = CrashReport(scenario=NAME, seed=1, points=len(points))
    run(jury, report, way, once(NAME, way, points[SOME.index(way) % 5 :: 8]))
    report.check()


def test_the_points_are_those_of_calls_that_wait(points: list[Point]) -> None:
    names = {point.name for point in points}
    assert names >= {"sql.insert_wait", "sql.decide_wait", "sql.let_call_run", "sql.await_approval"}
