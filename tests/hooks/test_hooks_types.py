"""What mypy says of hooks: a line that ends in `# refused` has an error, no other line has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]

SNIPPETS = """
from power_loop import Hooks
from power_loop.hooks import *

hooks = Hooks()

@hooks.guard(CALL_START)
def denies(call: CallStart) -> Proceed | Deny:
    return Deny(call.name)

@hooks.guard(CALL_START, order=3, timeout=None)
async def may_deny(call: CallStart) -> Deny | None:
    return None

@hooks.guard(CALL_START)
def of_any_point(view: View) -> Stop:
    return Stop(view.session_id)

@hooks.guard(CALL_START)  # refused
def retries(call: CallStart) -> Retry:
    return Retry("x")

@hooks.guard(CALL_START)  # refused
async def retries_later(call: CallStart) -> Retry:
    return Retry("x")

@hooks.guard(CALL_START)  # refused
def of_another_point(call: CallEnd) -> Deny:
    return Deny("x")

@hooks.guard(CALL_START)  # refused
def says_yes(call: CallStart) -> bool:
    return True

@hooks.guard(COMPACTION_END)  # refused
def stops(compacted: CompactionEnd) -> Stop:
    return Stop("x")

@hooks.guard(TURN_END)  # refused
def ends(turn: TurnEnd) -> Stop:
    return Stop("x")

@hooks.guard(MODEL_REQUEST)  # refused
def replaces_with_text(asked: ModelRequest) -> ReplaceText:
    return ReplaceText("x")

@hooks.observe(CALL_START)
def hears(call: CallStart) -> None: ...

@hooks.observe(CALL_START)
async def hears_both(call: CallStart, verdict: object) -> None: ...

@hooks.observe(CALL_START)  # refused
def hears_another(call: CallEnd) -> None: ...

hooks.guard(CALL_START, lambda call: Deny(call.name))
hooks.guard(CALL_START, denies)
hooks.guard(CALL_START, may_deny)
hooks.guard(TURN_END, denies)  # refused
hooks.guard(BATCH_START, lambda batch: Deny(str(len(batch.calls))))
hooks.observe(CALL_END, lambda call: print(call.result))

async def pays(call: CallStart) -> str:
    ruling = await hooks.run(CALL_START, call)
    match ruling.verdict:
        case Deny(reason) | Stop(reason):
            return reason
        case Skip(text) | ReplaceArguments(text):
            return text
        case Proceed():
            return ruling.view.arguments

async def forgets_one(call: CallStart) -> str:  # refused
    ruling = await hooks.run(CALL_START, call)
    match ruling.verdict:
        case Deny(reason) | Stop(reason):
            return reason
        case Proceed():
            return ruling.view.arguments

async def asks_elsewhere(call: CallStart) -> None:
    await hooks.run(CALL_END, call)  # refused
"""


@pytest.mark.acceptance("G1")
def test_impossible_verdicts_do_not_type_check(tmp_path: Path) -> None:
    file = tmp_path / "snippets.py"
    file.write_text(SNIPPETS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "--no-color-output", "--hide-error-context"),
            *("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache"), str(file)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not done.stderr
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert all(line.startswith(f"{file}:") for line in lines), done.stdout
    refused = {number for number, text in enumerate(SNIPPETS.split("\n"), 1) if text.endswith("# refused")}
    # mypy tells a decorator's fault at the decorator or at the function below it, by version.
    found = {int(line.removeprefix(f"{file}:").split(":")[0]) for line in lines}
    assert {number if number in refused else number - 1 for number in found} == refused, done.stdout
    assert len(found) == len(refused)
