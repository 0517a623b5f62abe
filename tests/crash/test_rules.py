"""G4, G5, G6, B8: killed anywhere in a session with people, a watcher, a budget and steps, all of it holds.

A sample; all points in all ways: `python -m power_loop.testing.crash tests.crash.rules:scenario --once`.
"""

from __future__ import annotations

from typing import Final

import pytest

from power_loop.testing.crash import CrashReport, Point
from power_loop.testing.crash.everywhere import all_points, once, run
from power_loop.testing.crash.jury import Jury
from tests.crash.rules import NAME

WAYS: Final = {
    "resume": 8,
    "retry": 8,
    "recover_resume": 40,
    "abort": 40,
    "retry_abort": 40,
    "new_abort": 40,
}
"""How to recover, and from every how manieth point."""
OUTCOMES: Final = {
    "once awaiting_approval -> succeeded",
    "once awaiting_approval -> denied",
    "idempotent awaiting_approval -> succeeded",
    "waits for somebody",
    "round closed",
}


@pytest.mark.acceptance("A1", "B6", "B8", "G4", "G5", "G6")
def test_people_and_rules_survive_every_kill() -> None:
    with Jury(2) as jury:
        report = CrashReport(scenario=NAME, seed=1)
        points: list[Point] = all_points(jury, NAME, report)
        assert not report.problems, report.problems
        for number, (way, every) in enumerate(WAYS.items()):
            run(jury, report, way, once(NAME, way, points[number::every]))
    report.check(sometimes=OUTCOMES)
