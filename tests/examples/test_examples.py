"""Each example runs as a newcomer runs it: in an empty folder, without a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *words], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.acceptance("B8")
def test_the_approval_queue_pays_what_was_approved_once_over_many_processes(tmp_path: Path) -> None:
    lines = run("approval_queue.py", tmp_path)
    assert [line for line in lines if line.startswith("  paid")] == [
        "  paid 40 to ann",
        "  paid 300 to cleo",
        "  paid 50 to bob",
    ]
    assert lines[-1] == "the turn ended: completed, Paid what I may."
    assert run("approval_queue.py", tmp_path, "list") == []
    assert run("approval_queue.py", tmp_path, "go-on") == ["the turn ended: completed, Paid what I may."]


@pytest.mark.acceptance("G4", "G5", "G6")
def test_the_budgeted_agent_is_guided_and_stopped(tmp_path: Path) -> None:
    lines = run("budgeted_agent.py", tmp_path)
    assert lines[0] == "completed: Report(city='Ulm', people=126000)"
    assert lines[1] == "4 requests, tokens and cost are known"
    assert lines[2].startswith("cancelled: aborted by repeated_call: search was called 4 times in a row")
    assert "  user: Search before you report." in lines
    assert any(line.startswith("  tool: [denied] complete is not allowed") for line in lines)


@pytest.mark.acceptance("G2")
def test_the_audit_log_says_everything_once(tmp_path: Path) -> None:
    assert run("audit_log.py", tmp_path) == [
        "what was left behind:",
        "  1  turn 1  began",
        '  2  turn 1  the model asks for pay{"amount": 3}',
        "  3  turn 1  1 call(s) started",
        "and what happens now:",
        "  4  turn 1  the process died",
        "  5  turn 1  call 2.0 succeeded, by person",
        "  6  turn 2  goes on from turn 1",
        "  7  turn 2  the model is done (completed)",
    ]


def test_every_example_is_in_the_list_and_has_a_test() -> None:
    files = sorted(path.name for path in EXAMPLES.glob("*.py"))
    page, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    assert files
    for name in files:
        assert f"| `{name}` |" in page
        assert f'run("{name}"' in tests
