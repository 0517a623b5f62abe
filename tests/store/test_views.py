"""The documented views: their columns stay, and any sqlite3 shell reads from them what the API says."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from power_loop import StatefulAgentLoop
from tests.store import sample

pytestmark = pytest.mark.acceptance("B4")

COLUMNS: Final = {
    "v_sessions": "session_id turn_state last_status owner open_calls messages active_messages turns created_at "
    "updated_at archived closed metadata waiting_inputs recoveries quarantined context_tokens context_window "
    "failed_compactions",
    "v_compactions": "session_id number turn strategy first_seq last_seq folded notes note_seq before_tokens "
    "after_tokens model at undone_at",
    "v_pending_calls": "session_id turn call_id name arguments state effect attempt since idempotency_key",
    "v_turns": "session_id turn origin request_id state status stop_reason error_code error rounds tool_calls epoch "
    "owner started_at ended_at",
    "v_usage": "session_id number turn purpose model prompt_tokens completion_tokens cached_tokens reasoning_tokens "
    "cost milliseconds at",
    "v_inputs": "session_id number mode request_id state turn seq body sender arrived_at taken_at",
    "v_approvals": "session_id call_id name kind arguments arguments_hash reason decision changed_arguments said "
    "decided_by call_state asked_at expires_at decided_at",
    "v_events": "session_id number turn fact body at",
    "v_rules": "session_id name memory turn at",
    "v_timeline": "session_id at_micros at turn what detail",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(sample.write(tmp_path_factory.mktemp("views")))


@pytest.fixture
def shell(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@pytest.mark.parametrize("view", COLUMNS)
def test_the_columns_of_a_view_stay(shell: sqlite3.Connection, view: str) -> None:
    found = [column["name"] for column in shell.execute(f"PRAGMA table_info({view})")]
    assert found == COLUMNS[view].split()
    views = {row["name"] for row in shell.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert views == set(COLUMNS)


async def test_the_views_say_what_the_api_says(path: Path, shell: sqlite3.Connection) -> None:
    async with StatefulAgentLoop(db_path=path) as loop:
        sessions = {row["session_id"]: row for row in shell.execute("SELECT * FROM v_sessions")}
        infos = {info.session_id: info for info in await loop.list_sessions()}
        assert sessions.keys() == infos.keys() == set(sample.SESSIONS)
        for session, info in infos.items():
            row = sessions[session]
            assert (row["messages"], row["active_messages"], row["turns"]) == (
                info.messages,
                info.active_messages,
                info.turns,
            )
            assert (row["last_status"], row["open_calls"]) == (info.status, len(info.pending))
            assert (row["waiting_inputs"], row["recoveries"]) == (info.queued, info.recoveries)
            waiting = shell.execute(
                "SELECT * FROM v_inputs WHERE session_id = ? AND state = 'waiting' ORDER BY number", (session,)
            ).fetchall()
            assert [(i["number"], i["mode"], i["request_id"], i["body"], i["sender"]) for i in waiting] == [
                (i.number, i.mode, i.request_id, i.body, i.sender) for i in await loop.get_queued(session)
            ]
            assert (row["archived"], row["closed"]) == (info.archived, info.closed) == (False, False)
            assert json.loads(row["metadata"] or "{}") == info.metadata
            assert row["created_at"] == info.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")

            pending = shell.execute("SELECT * FROM v_pending_calls WHERE session_id = ?", (session,)).fetchall()
            assert [(p["call_id"], p["name"], p["arguments"], p["attempt"], p["idempotency_key"]) for p in pending] == [
                (call.id, call.name, call.arguments, call.attempt, call.idempotency_key) for call in info.pending
            ]
            turns = shell.execute("SELECT * FROM v_turns WHERE session_id = ? ORDER BY turn", (session,)).fetchall()
            assert [(t["turn"], t["origin"], t["request_id"], t["state"], t["status"], t["error"]) for t in turns] == [
                (turn.number, turn.origin, turn.request_id, turn.state, turn.status, turn.error)
                for turn in await loop.get_turns(session)
            ]
            usage = shell.execute("SELECT * FROM v_usage WHERE session_id = ? ORDER BY number", (session,)).fetchall()
            assert [(u["turn"], u["purpose"], u["prompt_tokens"], u["cached_tokens"], u["cost"]) for u in usage] == [
                (u.turn, u.purpose, u.prompt_tokens, u.cached_tokens, u.cost) for u in await loop.get_usage(session)
            ]


def test_the_timeline_tells_the_whole_story_in_order(shell: sqlite3.Connection) -> None:
    rows = shell.execute("SELECT * FROM v_timeline WHERE session_id = 'alpha' ORDER BY at_micros")
    told = [(row["turn"], row["what"]) for row in rows]
    assert [what for _, what in told].count("turn began") == 3
    assert [what for _, what in told].count("turn ended") == 3
    assert told[0] == (0, "system message")
    assert {what for turn, what in told if turn == 2} == {
        "turn began", "user message", "assistant message", "call started", "call succeeded", "call failed",
        "tool message", "turn ended",
    }  # fmt: skip
    assert (3, "history compacted") in told
    turns = [turn for turn, _ in told]
    assert turns == sorted(turns)


def test_a_pending_call_shows_what_was_asked(shell: sqlite3.Connection) -> None:
    [row] = shell.execute("SELECT * FROM v_pending_calls WHERE session_id = 'gamma'").fetchall()
    [(born,)] = shell.execute("SELECT created_at FROM sessions WHERE id = 'gamma'").fetchall()
    assert dict(row) | {"since": None} == {
        "session_id": "gamma", "turn": 1, "call_id": "call_1", "name": "pay", "arguments": '{"amount": 3}',
        "state": "started", "effect": "once", "attempt": 1, "since": None, "idempotency_key": f"gamma@{born:x}/3.1",
    }  # fmt: skip


@pytest.mark.acceptance("B8")
def test_what_people_decided_and_what_waits_for_them_can_be_read(shell: sqlite3.Connection) -> None:
    found = shell.execute(
        "SELECT call_id, kind, decision, changed_arguments, said, decided_by, call_state FROM v_approvals"
    ).fetchall()
    assert [tuple(row) for row in found] == [
        ("call_0", "result", "answered", None, "at home", None, "succeeded"),
        ("call_1", "approval", "approved", '{"what":"coffee"}', None, "ann", "succeeded"),
        ("call_2", "approval", "denied", None, "too dear", "ann", "denied"),
        ("call_0", "result", "waiting", None, None, None, "started"),
        ("call_1", "approval", "waiting", None, None, None, "awaiting_approval"),
    ]
