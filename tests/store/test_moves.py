"""A move that the tables do not have is refused by the store too, whole, whoever asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_client.messages import AssistantMessage, UserMessage, wire
from power_loop import open_store
from power_loop.engine import facts as f
from power_loop.errors import SessionNotFoundError, StateError
from power_loop.store.contract import Begun, Input, NewSession
from power_loop.values import SessionId
from tests.store.kit import dump

S = SessionId("s")
ANSWER = f.AnswerReceived(
    session=S,
    turn=1,
    round=1,
    message=f.NewMessage(seq=2, role="assistant", body=wire(AssistantMessage(content="hello"))),
    model_call=f.ModelCall(purpose="answer", model="m", usage=None, milliseconds=1),
    status="completed",
    stop_reason="stop",
)
CANCELLED = f.TurnCancelled(session=S, turn=1, status="cancelled", stop_reason="enough")


@pytest.mark.parametrize(
    "facts",
    [
        [ANSWER, CANCELLED],  # it once took the answer's word back
        [CANCELLED, CANCELLED],
        [f.TurnInterrupted(session=S, turn=1)],
    ],
    ids=["cancel after the answer", "cancel twice", "interrupt"],
)
async def test_facts_that_do_not_follow_from_what_is_stored_are_refused(tmp_path: Path, facts: list[f.Fact]) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    begun = await store.begin_turn(Input(session=S, body=wire(UserMessage(content="hi"))))
    assert isinstance(begun, Begun)
    before = dump(path)
    with pytest.raises(StateError):
        await store.record(begun.claim, facts)
    assert dump(path) == before
    await store.record(begun.claim, [ANSWER])
    await store.aclose()


async def test_a_turn_whose_session_was_deleted_hears_that_and_not_of_damage(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "agent.db")
    await store.create_session(NewSession(id=S))
    begun = await store.begin_turn(Input(session=S, body=wire(UserMessage(content="hi"))))
    assert isinstance(begun, Begun)
    store.release(begun.claim)
    await store.delete_session(S)
    with pytest.raises(SessionNotFoundError):
        await store.take_inputs(begun.claim)
    await store.aclose()
