"""docs/observability.md: its programs run as they stand, and its numbers are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from power_loop import SinkLimits
from power_loop.sink.log import LONGEST_LINE
from tests.store.kit import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_page_runs(tmp_path: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    if "ConsoleSpanExporter" in program:
        assert '"name": "invoke_agent clerk"' in told
        assert '"name": "chat scripted"' in told
    else:
        assert "INFO:power_loop.facts:AnswerReceived session=" in told
        assert len((tmp_path / "facts.jsonl").read_text().splitlines()) == 2


def test_its_numbers_are_those_of_the_code() -> None:
    limits = SinkLimits()
    assert f"more than {limits.record_seconds:g} s over one `record`" in PAGE
    assert f"more than {limits.queued_facts:,} facts" in PAGE
    assert f"{limits.turn_seconds:g} s at most" in PAGE
    assert f"`aclose` gives the sinks {limits.close_seconds:g} s" in PAGE
    assert f"at most {LONGEST_LINE:,} characters" in PAGE
    assert f"({LONGEST_LINE * 8:,} characters then)" in PAGE
