"""docs/conformance.md is true: its code and its commands run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    assert len(found) == 1, f"{len(found)} {language} blocks with {containing!r}"
    return found[0]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def files(folder: Path) -> None:
    """Every block that names its file, as that file."""
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(text)


@pytest.mark.parametrize("option", ["--session-store", "--message-sink"])
def test_the_commands_try_what_they_name(tmp_path: Path, option: str) -> None:
    files(tmp_path)
    program, *words = shlex.split(block("bash", option))
    assert program == "pytest"
    some = "test_store.py and (killed or request or listed)" if "store" in option else "test_sink.py"
    options = ["-q", "-p", "power_loop.testing.plugin", "-p", "no:cacheprovider", "-k", some]
    tried = run(tmp_path, "-m", "pytest", *options, *words)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "skipped" not in tried.stdout


def test_the_rules_are_tests_of_ones_own_without_any_setting(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    tried = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_store.py", "-k", "request or listed")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert " passed" in tried.stdout


def test_time_passes_by_hand(tmp_path: Path) -> None:
    ran = run(tmp_path, "-W", "error", "-c", block("python", "ManualClock"))
    assert (ran.stdout, ran.stderr) == ("test-000003 2030-01-01T00:00:00+00:00\n", "")


def test_a_test_says_what_was_said_and_done_and_shows_what_was_not(tmp_path: Path) -> None:
    code = block("python", "assert_ledger")
    ran = run(tmp_path, "-W", "error", "-c", code)
    assert (ran.returncode, ran.stderr) == (0, "")
    (tmp_path / "pays.db").unlink()
    ran = run(tmp_path, "-c", code.replace("paid 120 at ...", "paid 130"))
    assert ran.returncode == 1
    assert block("text", "first difference") in ran.stderr


def test_the_kit_needs_no_pytest(tmp_path: Path) -> None:
    """Where no pytest is installed, all but the suite itself can be used."""
    code = "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None; import power_loop.testing as t; "
    ran = run(tmp_path, "-c", code + "t.assert_transcript([], ''); print(t.CountingIds()())")
    assert (ran.stdout, ran.stderr) == ("id-000001\n", "")
    ran = run(tmp_path, "-c", code + "import power_loop.testing.conformance")
    assert "pytest" in ran.stderr
