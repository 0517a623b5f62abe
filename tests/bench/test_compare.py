"""The comparing half of the benchmarks, as small as it can be: counts and what is on disk, never times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def compared(folder: Path, *workloads: str) -> dict[str, Any]:
    found = folder / "found.json"
    command = [sys.executable, "-m", "bench", *workloads, "--quick", "--peers", "ours,sqlite_message,sockets"]
    done = subprocess.run(
        [*command, "--json", str(found), "--dir", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data: dict[str, Any] = json.loads(found.read_text())["data"]
    return data


@pytest.mark.acceptance("A1", "A6")
def test_a_turn_takes_four_commits_and_intent_is_on_disk_before_effect(tmp_path: Path) -> None:
    data = compared(tmp_path, "turns", "before_effect")
    for where in ("in process", "over HTTP"):
        assert data["turns"][where]["ours"]["commits"] == 4
        assert data["turns"][where]["sqlite_message"]["commits"] == 5
    before = data["before_effect"]["ours"]
    assert before["calls"] == before["input"] == before["call"] == 8
