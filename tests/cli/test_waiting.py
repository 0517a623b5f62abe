"""`free`, `withdraw`, and what `pending` says of a session that is quarantined, or in whose inbox something waits."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from power_loop import open_store
from power_loop.cli.exits import Exit
from power_loop.store.contract import Input
from power_loop.values import InputMode, SessionId
from tests.cli.kit import CRASHED, IDLE, rows, run


async def left_waiting(path: Path, session: str, *texts: str) -> list[int]:
    """Inputs that a process left in the inbox; their numbers."""
    store = await open_store(path)
    for text in texts:
        body = f'{{"role":"user","content":"{text}"}}'
        await store.queue_input(Input(session=SessionId(session), body=body, queue=InputMode.STEER))
    numbers = [waiting.number for waiting in await store.queued_inputs(SessionId(session))]
    await store.aclose()
    return numbers


def quarantined(path: Path) -> None:
    """What a third recovery that died leaves."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE sessions SET recoveries = 3, quarantined_at = updated_at WHERE id = ?", (CRASHED,))


@pytest.mark.acceptance("B9", "L5")
def test_a_quarantined_session_says_so_everywhere_and_is_freed(crashed_db: Path) -> None:
    quarantined(crashed_db)
    at = ("--db", str(crashed_db))
    shown = run("pending", CRASHED, *at, cwd=crashed_db.parent)
    assert (shown.code, shown.err) == (Exit.OK, "")
    assert "3 recoveries made no progress" in shown.out
    assert "power-loop free" in shown.out
    assert "quarantined" in run("sessions", "--attention", *at, cwd=crashed_db.parent).out
    found = run("pending", CRASHED, "--json", *at, cwd=crashed_db.parent).json
    assert (found["state"], found["recoveries"]) == ("quarantined", 3)
    refused = run("resume", CRASHED, "--without-tools", *at, cwd=crashed_db.parent, POWER_LOOP_API_KEY="any",
                  POWER_LOOP_MODEL="any", POWER_LOOP_BASE_URL="http://127.0.0.1:9/v1")  # fmt: skip
    assert (refused.code, "[session.quarantined]" in refused.err) == (Exit.WAITS, True)
    assert "`power-loop free" in refused.err
    assert run("free", CRASHED, "--json", *at, cwd=crashed_db.parent).json == {"session_id": CRASHED, "freed": True}
    assert "is not quarantined" in run("free", CRASHED, *at, cwd=crashed_db.parent).out
    assert run("pending", CRASHED, "--json", *at, cwd=crashed_db.parent).json["state"] == "interrupted_in_tools"


@pytest.mark.acceptance("D2", "L5")
def test_an_input_that_waits_is_shown_and_taken_out(crashed_db: Path) -> None:
    first, second = asyncio.run(left_waiting(crashed_db, IDLE, "for later", "and more"))
    at = ("--db", str(crashed_db))
    shown = run("pending", IDLE, *at, cwd=crashed_db.parent)
    assert (shown.code, shown.err) == (Exit.OK, "")
    assert f"input {first} waits (steer)  for later" in shown.out
    found = run("pending", IDLE, "--json", *at, cwd=crashed_db.parent).json
    assert [waiting["number"] for waiting in found["inputs"]] == [first, second]
    before = rows(crashed_db)
    assert (
        "would be withdrawn: and more"
        in run("withdraw", IDLE, str(second), "--dry-run", *at, cwd=crashed_db.parent).out
    )
    assert rows(crashed_db) == before
    gone = run("withdraw", IDLE, str(second), "--json", *at, cwd=crashed_db.parent).json
    assert (gone["withdrawn"], gone["input"]["number"]) == (True, second)
    assert f"no input {second} waits" in run("withdraw", IDLE, str(second), *at, cwd=crashed_db.parent).out
    assert len(run("pending", IDLE, "--json", *at, cwd=crashed_db.parent).json["inputs"]) == 1
