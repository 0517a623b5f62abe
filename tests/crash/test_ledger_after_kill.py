"""B1, B2, B3: three `once` calls one after the other, killed for real inside the second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from power_loop import (
    Done,
    NotDone,
    SessionPendingError,
    StatefulAgentLoop,
    ToolContext,
    Unknown,
)
from power_loop.errors import CallSettledError
from power_loop.tools import Reconciled
from power_loop.transcript.rules import violations
from tests.crash.agent import SESSION, app, entered, tools
from tests.crash.conftest import Bench


async def results(loop: StatefulAgentLoop) -> dict[str, str]:
    """What the model was told of each tool."""
    messages = await loop.get_messages(SESSION)
    assert violations(message.message for message in messages) == []
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return {names[m.tool_call_id]: m.text for m in messages if m.tool_call_id is not None}


@pytest.mark.acceptance("B1")
async def test_the_ledger_tells_what_never_ran_from_what_was_cut_off(killed: Bench) -> None:
    assert killed.sound()
    async with app(killed.database, killed.server.url, tools(killed.ledger)) as loop:
        pending = await loop.get_pending(SESSION)
        assert [(c.name, json.loads(c.arguments), c.state, c.attempt) for c in pending] == [
            ("second", {"amount": 2}, "in_doubt", 1),
            ("third", {"amount": 3}, "requested", 0),
        ]
        with pytest.raises(SessionPendingError) as refused:
            await loop.send("more", SESSION)
        assert list(refused.value.calls) == pending
        assert refused.value.code == "session.pending"
        for way in ("resume(", "abort_pending(", "on_pending="):
            assert any(way in told for told in refused.value.ways_out)
            assert way in str(refused.value)
        assert (await loop.get_session(SESSION)).state == "interrupted_in_tools"
        assert (await loop.get_session(SESSION)).pending == tuple(pending)
    view = killed.sql("SELECT session_id, name, arguments, state, attempt, idempotency_key FROM v_pending_calls")
    assert view == [
        (SESSION, "second", '{"amount": 2}', "started", 1, pending[0].idempotency_key),
        (SESSION, "third", '{"amount": 3}', "requested", 0, pending[1].idempotency_key),
    ]
    assert killed.server.requests == []
    assert entered(killed.ledger) == ["first", "second"]


@pytest.mark.acceptance("B2")
async def test_report_tells_the_model_and_runs_what_never_ran(killed: Bench) -> None:
    async with app(killed.database, killed.server.url, tools(killed.ledger)) as loop:
        assert (await loop.resume(SESSION)).status == "completed"
        told = await results(loop)
    assert told["first"] == "first 1 done"
    assert "may have happened fully, partly or not at all" in told["second"]
    assert told["third"] == "third 3 done"
    assert entered(killed.ledger) == ["first", "second", "third"]


@pytest.mark.acceptance("B2")
async def test_retry_runs_it_again_under_its_key(killed: Bench) -> None:
    async with app(killed.database, killed.server.url, tools(killed.ledger)) as loop:
        assert (await loop.resume(SESSION, in_doubt="retry")).status == "completed"
        assert (await results(loop))["second"] == "second 2 done"
    runs = [json.loads(line) for line in killed.ledger.read_text().splitlines()]
    again = [(run["key"], run["attempt"]) for run in runs if run["tool"] == "second"]
    assert [run["tool"] for run in runs] == ["first", "second", "second", "third"]
    assert again == [(again[0][0], 1), (again[0][0], 2)]


RESOLVED: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "result": ({"result": "paid by hand"}, "paid by hand", ["first", "second", "third"]),
    "error": ({"error": "the bank refused"}, "Error: the bank refused", ["first", "second", "third"]),
    "report": ({"report": True}, "fully, partly or not at all", ["first", "second", "third"]),
    "retry": ({"retry": True}, "second 2 done", ["first", "second", "second", "third"]),
}


@pytest.mark.acceptance("B2")
@pytest.mark.parametrize("word", RESOLVED)
async def test_ask_waits_for_a_person_whose_word_counts(word: str, killed: Bench) -> None:
    said, told, ran = RESOLVED[word]
    async with app(killed.database, killed.server.url, tools(killed.ledger)) as loop:
        parked = await loop.resume(SESSION, in_doubt="ask")
        assert parked.status == "pending_tools"
        assert [call.name for call in parked.pending_tool_calls] == ["second", "third"]
        assert entered(killed.ledger) == ["first", "second"]  # nothing after it runs meanwhile
        second, third = parked.pending_tool_calls
    async with StatefulAgentLoop(db_path=killed.database) as bare:  # a person, in another process, without a model
        with pytest.raises(CallSettledError):
            await bare.resolve(SESSION, third.id, "it never ran")
        await bare.resolve(SESSION, second.id, **said)
    async with app(killed.database, killed.server.url, tools(killed.ledger)) as loop:
        assert (await loop.resume(SESSION, in_doubt="ask")).status == "completed"
        assert told in (await results(loop))["second"]
    assert entered(killed.ledger) == ran


RECONCILED: dict[str, tuple[Reconciled, str, str, list[str]]] = {
    "done": (Done("paid after all"), "report", "paid after all", ["first", "second", "third"]),
    "not done": (NotDone(), "report", "second 2 done", ["first", "second", "second", "third"]),
    "unknown": (Unknown("the bank is closed"), "report", "fully, partly or not", ["first", "second", "third"]),
    "unknown, retry": (Unknown("closed"), "retry", "second 2 done", ["first", "second", "second", "third"]),
}


@pytest.mark.acceptance("B2")
@pytest.mark.parametrize("word", RECONCILED)
async def test_the_tool_itself_is_asked_first(word: str, killed: Bench) -> None:
    said, policy, told, ran = RECONCILED[word]
    asked: list[tuple[str, int, dict[str, Any]]] = []

    def reconcile(context: ToolContext, arguments: dict[str, Any]) -> Reconciled:
        asked.append((context.idempotency_key, context.attempt, arguments))
        return said

    reconciling = tools(killed.ledger, reconcile=reconcile)
    async with app(killed.database, killed.server.url, reconciling) as loop:
        pending = await loop.get_pending(SESSION)
        assert (await loop.resume(SESSION, in_doubt=policy)).status == "completed"
        assert told in (await results(loop))["second"]
    assert asked == [(pending[0].idempotency_key, 1, {"amount": 2})]
    assert entered(killed.ledger) == ran


@pytest.mark.acceptance("B2")
async def test_nobody_can_tell_and_a_person_is_to_decide(killed: Bench) -> None:
    reconciling = tools(killed.ledger, reconcile=lambda context, arguments: Unknown("the bank is closed"))
    async with app(killed.database, killed.server.url, reconciling) as loop:
        parked = await loop.resume(SESSION, in_doubt="ask")
        assert parked.status == "pending_tools"
        result = await loop.resume(SESSION, decisions={parked.pending_tool_calls[0].id: "abort"})
        assert result.status == "completed"
        assert (await results(loop))["second"].startswith("[aborted")
    assert entered(killed.ledger) == ["first", "second", "third"]


@pytest.mark.acceptance("B3")
async def test_abort_works_offline_without_tools(killed: Bench) -> None:
    async with StatefulAgentLoop(db_path=killed.database) as bare:
        pending = await bare.get_pending(SESSION)
        assert await bare.abort_pending(SESSION, reason="the shop is closed") == [call.id for call in pending]
        assert await bare.get_pending(SESSION) == []
        told = await results(bare)
        assert told["first"] == "first 1 done"
        assert told["second"].startswith("[aborted: the shop is closed] It was started")
        assert told["third"] == "[aborted: the shop is closed] It did not run."
        assert await bare.abort_pending(SESSION) == []
    assert killed.server.requests == []
    assert killed.sql("SELECT * FROM v_pending_calls") == []
    async with app(killed.database, killed.server.url) as loop:
        assert (await loop.send("go on", SESSION)).final_text == "Heard: go on"
    assert entered(killed.ledger) == ["first", "second"]
