"""E7, A1: killed at every point of a turn with large results, what is shown and the whole are both there or neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from power_loop.testing.crash import Case, CrashReport, Point
from power_loop.testing.crash.everywhere import all_points, once, run
from power_loop.testing.crash.jury import Jury
from tests.crash.large_result import NAME

WAYS: Final = ("resume", "abort")


@pytest.fixture(scope="module")
def jury() -> Iterator[Jury]:
    with Jury(2) as jury:
        yield jury


@pytest.fixture(scope="module")
def points(jury: Jury) -> list[Point]:
    """From the claim of the turn on."""
    report = CrashReport(scenario=NAME, seed=1)
    points = all_points(jury, NAME, report)
    assert not report.problems, report.problems
    begun = next(at for at, point in enumerate(points) if point.name == "sql.claim_session")
    return points[begun:]


@pytest.mark.acceptance("E7", "A1")
@pytest.mark.parametrize("way", WAYS)
def test_a1_killed_at_every_point_a_result_and_its_whole_stand_or_fall_together(
    way: str, jury: Jury, points: list[Point]
) -> None:
    report = CrashReport(scenario=NAME, seed=1, points=len(points))
    run(jury, report, way, once(NAME, way, points))
    report.check()
    assert report.kills > 60


@pytest.mark.acceptance("E7", "B4")
def test_a_recall_that_was_killed_runs_again(jury: Jury, points: list[Point]) -> None:
    """It was started on disk, and what it gave is not there."""
    inside = [Point(f"tool.recall_output.{where}", nth) for where in ("started", "ended") for nth in (1, 3)]
    assert {*inside} <= {*points}
    report = CrashReport(scenario=NAME, seed=1, points=len(points))
    run(jury, report, "resume", (Case(scenario=NAME, way="resume", kills=(point,)) for point in inside))
    report.check(sometimes={"read started -> succeeded"})


def test_the_points_are_those_of_large_results(points: list[Point]) -> None:
    assert [point.nth for point in points if point.name == "sql.insert_output"] == [1, 2, 3]
