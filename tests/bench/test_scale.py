"""The workloads of `bench/scale`, as small as they can be: they run, and their counts are what they should be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SENDS = ("send to an existing session", "send to it again", "send to a new session")


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a workload that ran in a process of its own; it leaves nothing in its folder."""
    place, figures = folder / "databases", folder / "figures.json"
    place.mkdir()
    command = [sys.executable, "-m", "bench.scale", name, "--quick", "--dir", str(place), "--json", str(figures)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not list(place.iterdir())
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


def test_no_work_grows_with_the_database(tmp_path: Path) -> None:
    work = quick("million", tmp_path)["work"]
    scans = {name: one["table_scans"] for size in work.values() for name, one in size.items() if one["table_scans"]}
    assert scans == {}
    # Whether input waits anywhere is asked once a tick, by whoever drives a turn just then, and sorts what waits.
    sorts = [sort for size in work.values() for one in size.values() for sort in one["sorts"]]
    assert [sort for sort in sorts if not sort.startswith("sessions_with_inputs")] == []
    for name in (*SENDS, "list, first page", "get_session", "get_messages", "get_pending", "recover"):
        assert work["large"][name]["steps"] <= 1.1 * work["small"][name]["steps"], name
    # A page further back must not walk over all that come before it.
    assert work["large"]["list, page in the middle"]["steps"] <= 1.1 * work["large"]["list, first page"]["steps"]


def test_many_writers_share_commits(tmp_path: Path) -> None:
    writers = quick("appends", tmp_path)["writers"]
    for contestant in ("queue_input", "record(CallSettled)"):
        assert set(writers["1"][contestant]["commits"]) == {1.0}
        assert max(writers["200"][contestant]["commits"]) <= 0.05
    assert all(set(one["raw sqlite3, one commit a message"]["commits"]) == {1.0} for one in writers.values())


def test_every_session_of_a_killed_process_is_recovered(tmp_path: Path) -> None:
    # That each ended as it should is for the workload itself to check; it fails otherwise.
    found = quick("recovery", tmp_path)
    assert found["sessions"] == 20
    for way, changes in (("resume", 5), ("report", 1), ("abort", 1)):
        (run,) = found["runs"][way]
        assert run["changes"] <= changes * 20
        assert run["commits"] < run["changes"]


def test_an_idle_session_holds_little_beyond_its_messages(tmp_path: Path) -> None:
    targets = quick("memory", tmp_path)["targets"]
    assert targets["idle_kb_beyond_messages_python"] <= 50
    assert targets["idle_kb_beyond_messages"] <= 100


def test_every_byte_on_disk_is_accounted_for(tmp_path: Path) -> None:
    found = quick("disk", tmp_path)
    for one in found["shapes"].values():
        assert sum(part["bytes"] for part in one["parts"]) == one["bytes"]
        (body,) = [c for c in one["columns"] if (c["table"], c["name"]) == ("messages", "body")]
        assert body["bytes"] == one["texts"]
        assert min(part["bytes"] - part["payload"] - part["unused"] for part in one["parts"]) >= 0
    assert found["targets"]["disk_ratio"] <= 3.3, (  # events are 0.6 of it
        "more than it was; 1.6 is wanted, docs/performance.md says what bounds it"
    )


def test_importing_loads_no_client_and_no_command_line(tmp_path: Path) -> None:
    modules = quick("imports", tmp_path)["modules"]
    assert "power_loop.stateful_loop.loop" in modules
    assert {name.split(".")[0] for name in modules} & {"openai", "httpx", "click", "rich", "stamina"} == set()
