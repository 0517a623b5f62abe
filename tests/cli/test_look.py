"""`sessions`, `show`, `pending`: what is seen, and that looking changes nothing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.kit import CRASHED, IDLE, child_in_payment, command, contents, environment, run


def ok(db: Path, *arguments: str) -> str:
    ran = run(*arguments, "--db", str(db), cwd=db.parent)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def ok_json(db: Path, *arguments: str) -> object:
    return json.loads(ok(db, *arguments, "--json"))


@pytest.mark.acceptance("L1", "L5")
def test_sessions_says_what_needs_somebody(crashed_db: Path) -> None:
    head, first, second, *rest = ok(crashed_db, "sessions").splitlines()
    assert head.split()[:3] == ["SESSION", "STATE", "LOOK"]
    assert first.split()[:5] == [CRASHED, "interrupted_in_tools", "yes", "1", "6"]
    assert first.endswith("Pay invoice 17, please.")
    assert second.split()[:4] == [IDLE, "idle", "1", "2"]
    assert "pending SESSION" in rest[-1]
    found = ok_json(crashed_db, "sessions")
    assert isinstance(found, dict)
    assert [entry["session_id"] for entry in found["sessions"]] == [CRASHED, IDLE]
    assert [entry["needs_attention"] for entry in found["sessions"]] == [True, False]
    assert [call["state"] for call in found["sessions"][0]["pending"]] == ["in_doubt", "requested"]


@pytest.mark.acceptance("L1")
@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--attention"], [CRASHED]),
        (["--state", "idle"], [IDLE]),
        (["--state", "failed"], []),
        (["--limit", "1"], [CRASHED]),
        (["--state", "idle", "--attention"], []),
    ],
)
def test_sessions_filters(crashed_db: Path, filters: list[str], left: list[str]) -> None:
    found = ok_json(crashed_db, "sessions", *filters)
    assert isinstance(found, dict)
    assert [entry["session_id"] for entry in found["sessions"]] == left


async def test_archived_sessions_are_listed_on_demand(crashed_db: Path) -> None:
    from power_loop import StatefulAgentLoop

    async with StatefulAgentLoop(db_path=crashed_db) as loop:
        await loop.archive_session(IDLE)
    assert IDLE not in ok(crashed_db, "sessions")
    assert "idle, archived" in ok(crashed_db, "sessions", "--all")


def test_options_stand_before_or_after_the_command(crashed_db: Path) -> None:
    after = run("sessions", "--json", "--db", str(crashed_db), cwd=crashed_db.parent)
    before = run("--json", "--db", str(crashed_db), "sessions", cwd=crashed_db.parent)
    by_environment = run("sessions", "--json", cwd=crashed_db.parent, POWER_LOOP_DB=str(crashed_db))
    assert after.out == before.out == by_environment.out
    by_default = crashed_db.rename(crashed_db.with_name("power-loop.db"))
    for tail in ("-wal", "-shm"):
        Path(f"{crashed_db}{tail}").rename(f"{by_default}{tail}")
    assert run("sessions", "--json", cwd=crashed_db.parent).out == after.out


def test_a_terminal_gets_a_table_that_fits_and_whole_ids(crashed_db: Path) -> None:
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", COLUMNS="110", NO_COLOR="1")
    with open(ours, "rb", buffering=0) as terminal:
        asked = command("sessions", "--db", str(crashed_db))
        assert subprocess.run(asked, env=env, stdin=theirs, stdout=theirs, stderr=theirs).returncode == 0
        shown = terminal.read(65536).decode()
    os.close(theirs)
    row = next(line for line in shown.splitlines() if CRASHED in line)
    assert row.split()[:5] == [CRASHED, "interrupted_in_tools", "yes", "1", "6"]
    assert len(row.rstrip()) <= 110


@pytest.mark.acceptance("L2", "L5")
def test_show_is_the_transcript_with_what_became_of_each_call(crashed_db: Path) -> None:
    shown = ok(crashed_db, "show", "crash")
    for part in (
        "interrupted_in_tools, needs attention",
        "system     You pay invoices.",
        "user       Pay invoice 17, please.",
        '-> look_up_invoice({"number": 17})  succeeded',
        "= invoice 17: 120 EUR due",
        '-> send_payment({"number": 17})  in doubt or running',
        '-> write_receipt({"number": 17})  requested',
        "1 model call",
    ):
        assert part in shown
    ledger = ok(crashed_db, "show", CRASHED, "--calls").splitlines()
    start = next(at for at, line in enumerate(ledger) if line.startswith("PLACE"))
    assert [line.split()[2:4] for line in ledger[start + 1 : start + 4]] == [
        ["look_up_invoice", "succeeded"], ["send_payment", "started"], ["write_receipt", "requested"],
    ]  # fmt: skip
    found = ok_json(crashed_db, "show", CRASHED)
    assert isinstance(found, dict)
    assert [message["message"]["role"] for message in found["messages"]] == ["system", "user", "assistant", "tool"]
    assert [call["state"] for call in found["calls"]] == ["succeeded", "started", "requested"]
    assert found["damage"] == []


def test_no_text_of_a_model_or_user_reaches_the_terminal_as_a_command(crashed_db: Path) -> None:
    shown = ok(crashed_db, "show", IDLE) + ok(crashed_db, "sessions")
    assert "\x1b" not in shown
    assert "\u241b[31mred" in shown


@pytest.mark.acceptance("B1", "L5")
def test_pending_shows_the_calls_and_ways_out_that_work(crashed_db: Path) -> None:
    shown = ok(crashed_db, "pending", CRASHED)
    assert 'in_doubt   send_payment({"number": 17})' in shown
    assert 'requested  write_receipt({"number": 17})' in shown
    assert "look_up_invoice" not in shown
    found = ok_json(crashed_db, "pending", CRASHED)
    assert isinstance(found, dict)
    ways = [way for way, _ in found["ways_out"]]
    assert len(ways) == 6
    abort = next(way for way in ways if " abort " in way)
    done = subprocess.run(
        abort.replace("power-loop", " ".join(command()), 1),
        shell=True,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no call is open" in ok(crashed_db, "pending", CRASHED)


@pytest.mark.acceptance("L1")
def test_looking_works_beside_a_live_writer_and_leaves_it_alone(tmp_path: Path) -> None:
    db, ledger = tmp_path / "agent.db", tmp_path / "ledger"
    with child_in_payment(db, "live", ledger) as child:
        before = contents(tmp_path)
        assert ok(db, "sessions").splitlines()[1].split()[:2] == ["live", "running"]
        assert "running" in ok(db, "show", "live")
        shown = ok(db, "pending", "live")
        assert f":{child.pid}:" in shown
        assert "started    send_payment" in shown
        assert "abort" not in shown
        assert "1 session(s) are being driven, no owner is dead" in ok(db, "doctor")
        assert contents(tmp_path) == before
        child.communicate("go on\n", timeout=60)
        assert child.returncode == 0
    assert ok(db, "sessions").splitlines()[1].split()[:2] == ["live", "idle"]
    assert contents(tmp_path)["ledger"].count(b"send_payment") == 1


@pytest.mark.parametrize("arguments", [["sessions"], ["show", "x"], ["pending", "x"], ["doctor"], ["abort", "x"],
                                       ["resume", "x"], ["resolve", "x", "y", "--retry"]])  # fmt: skip
def test_no_command_about_sessions_makes_a_file(tmp_path: Path, arguments: list[str]) -> None:
    ran = run(*arguments, cwd=tmp_path)
    assert ran.code in (6, 8)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [["sessions"], ["show", CRASHED], ["pending", CRASHED], ["doctor"],
                                       ["abort", CRASHED, "--dry-run"]])  # fmt: skip
def test_looking_changes_no_byte(crashed_db: Path, arguments: list[str]) -> None:
    before = contents(crashed_db.parent)
    wal = Path(f"{crashed_db}-wal").read_bytes()
    ok(crashed_db, *arguments)
    assert contents(crashed_db.parent) == before
    assert Path(f"{crashed_db}-wal").read_bytes() == wal
