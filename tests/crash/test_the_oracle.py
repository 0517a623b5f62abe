"""The kit can fail: each fault planted in a sound scenario is found, in words, with the command that repeats it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from power_loop.testing import CrashFailures, crash_everywhere
from power_loop.testing.crash import Case, CrashReport
from power_loop.testing.crash.everywhere import run
from power_loop.testing.crash.jury import Jury
from tests.crash.planted import FAULTS

HERE = "tests.crash.planted"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def jury() -> Iterator[Jury]:
    with Jury(2) as jury:
        yield jury


def judged(jury: Jury, name: str) -> CrashReport:
    report = CrashReport(scenario=f"{HERE}:{name}", seed=1, points=1)
    run(jury, report, "resume", [Case(scenario=report.scenario, way="resume", kills=(None,))])
    return report


@pytest.mark.acceptance("A1")
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, jury: Jury) -> None:
    report = judged(jury, name)
    (verdict,) = report.failures
    assert any(FAULTS[name][1] in problem for problem in verdict.problems), verdict.problems
    with pytest.raises(CrashFailures) as failed:
        report.check()
    assert f"python -m power_loop.testing.crash {HERE}:{name} --way resume" in str(failed.value)
    assert FAULTS[name][1] in str(failed.value)


@pytest.mark.acceptance("A1")
def test_without_a_fault_nothing_is_found(jury: Jury) -> None:
    assert judged(jury, "sound").failures == []


@pytest.mark.acceptance("A1")
def test_a_sweep_that_killed_nobody_fails(jury: Jury) -> None:
    with pytest.raises(CrashFailures, match="no process was killed"):
        judged(jury, "sound").check()


def test_a_loop_that_passes_its_points_unseen_is_refused() -> None:
    report = crash_everywhere(f"{HERE}:sightless", ways=["resume"], jobs=1)
    with pytest.raises(CrashFailures, match="build it with world="):
        report.check()
    assert (report.points, report.kills) == (0, 0)


def test_a_window_that_was_never_hit_is_missed() -> None:
    report = crash_everywhere(f"{HERE}:sound", share=0.02, ways=["retry"], again=False, jobs=1)
    report.check()
    assert report.kills > 0
    with pytest.raises(CrashFailures, match="never seen: compacted, turn live"):
        report.check(sometimes={"compacted, turn live"})


@pytest.mark.parametrize(("name", "code"), [("sound", 0), ("once_twice", 1)])
def test_the_shell_command_tells_by_its_exit_code(name: str, code: int) -> None:
    command = [sys.executable, "-m", "power_loop.testing.crash", f"{HERE}:{name}", "--way", "retry"]
    done = subprocess.run(
        [*command, "--kill", "store.committed:4"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert ("entered 2 times" in done.stderr) == (code == 1)
