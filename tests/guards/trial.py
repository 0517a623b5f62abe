"""Runs one test against a copy of the tree without one guard. The tree itself is never touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tests.guards.guard import ROOT, Guard

PARTS: Final = ("power_loop", "llm_client", "migrations", "tests", "docs", "pyproject.toml")
"""What the tests need of the tree."""

LIMIT: Final = 180.0
"""Seconds a run may take. Without some guards a program waits for ever; that is a catch, and is said so."""

PASSED: Final = 0
FAILED: Final = 1
"""Exit codes of pytest. Any other says that no test ran: a syntax error is no catch."""


class Verdict(Enum):
    CAUGHT = "caught"
    HUNG = "caught, by the time limit"
    SURVIVED = "SURVIVED"
    REDUNDANT = "redundant, as stated"
    NEEDED = "CAUGHT, though stated to be redundant"
    BROKEN = "BROKEN: no test ran"
    WAITING = "not run"

    @property
    def good(self) -> bool:
        return self not in (Verdict.SURVIVED, Verdict.NEEDED, Verdict.BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    guard: Guard
    verdict: Verdict
    seconds: float = 0.0
    said: str = ""
    """The first failure, in pytest's words; or why nothing ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    code: int | None
    """None: it was ended by the time limit."""
    output: str

    @property
    def first_failure(self) -> str:
        lines = self.output.splitlines()
        return next((line for line in lines if line.startswith(("FAILED tests/", "ERROR tests/"))), "")


def base(folder: Path) -> Path:
    """A copy of the tree, to copy from. Tests that run in it once leave their bytecode for all copies."""
    target = folder / "base"
    target.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    return target


def unpatched(tree: Path, guards: Sequence[Guard], limit: float) -> Run:
    """The tests of these guards, with every guard in its place: they must pass."""
    tests = list(dict.fromkeys(guard.test for guard in guards))
    return _pytest(tree, tests, limit * max(1, len(tests)))


def tried(tree: Path, guard: Guard, limit: float = LIMIT) -> Outcome:
    """What the guard's test says once the guard is gone from a copy of `tree`."""
    if not guard.runs:
        return Outcome(guard=guard, verdict=Verdict.WAITING, said=f"it needs {guard.needs}, which is not here")
    begun = time.monotonic()
    copy = tree.with_name(guard.name)
    shutil.copytree(tree, copy)
    try:
        patched = copy / guard.file
        patched.write_text(guard.without(patched.read_text(encoding="utf-8")), encoding="utf-8")
        run = _pytest(copy, [guard.test], limit)
    except LookupError as stale:
        return Outcome(guard=guard, verdict=Verdict.BROKEN, said=str(stale))
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    verdict = _verdict(guard, run.code)
    said = run.output[-2000:] if verdict is Verdict.BROKEN else run.first_failure
    return Outcome(guard=guard, verdict=verdict, seconds=time.monotonic() - begun, said=said)


def _verdict(guard: Guard, code: int | None) -> Verdict:
    if code not in (PASSED, FAILED, None):
        return Verdict.BROKEN
    if guard.redundant is not None:
        return Verdict.REDUNDANT if code == PASSED else Verdict.NEEDED
    return {PASSED: Verdict.SURVIVED, FAILED: Verdict.CAUGHT, None: Verdict.HUNG}[code]


def _pytest(tree: Path, tests: Sequence[str], limit: float) -> Run:
    """Run tests in a process group of their own, of which nothing is left afterwards."""
    scratch = tree.with_name(f"{tree.name}.scratch")
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-rfE",
        "--no-header",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    try:
        with open(scratch / "output", "wb+") as output:
            process = subprocess.Popen(
                [*command, f"--basetemp={scratch / 'files'}", *tests],
                cwd=tree,
                # `CI` makes Hypothesis draw the same examples every time: what a guard's absence does is repeatable.
                env={**os.environ, "PYTHONPATH": str(tree), "CI": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            code = _ended(process, limit)
            output.seek(0)
            return Run(code=code, output=output.read().decode(errors="replace"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _ended(process: subprocess.Popen[bytes], limit: float) -> int | None:
    """Its exit code, or None if it ran into the limit. Whatever it left running ends with it."""
    until = time.monotonic() + limit
    over = False
    while not over and time.monotonic() < until:
        # Left unreaped, so that its group keeps its number until the group is ended below.
        over = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        time.sleep(0 if over else 0.02)
    os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return code if over else None
