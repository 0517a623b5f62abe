"""Guards of the store that only a driver gone wrong or an unlucky instant meets: each refuses, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from power_loop import EpochLostError, SessionState, open_store
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.errors import StateError
from power_loop.sink import StoreSink
from power_loop.store.contract import Begun, Claim, Input, Known, NewSession, SessionStore, Waiting
from power_loop.values import CallKey, Effect, InputMode, SessionId
from tests.store.kit import dump

S = SessionId("s")
HELLO = '{"role":"user","content":"hello"}'
SPENT = f.ModelCall(purpose="answer", model="m", usage=None, milliseconds=1)
FIRST, SECOND = CallKey(2, 0), CallKey(2, 1)


async def begun(store: SessionStore) -> Begun:
    """A turn on the first message of a session."""
    turn = await store.begin_turn(Input(session=S, body=HELLO, queue=InputMode.STEER))
    assert isinstance(turn, Begun)
    return turn


def asked() -> f.CallsRequested:
    """An answer that asks for two calls, as message 2."""
    texts = ",".join(f'{{"id":"c{n}","type":"function","function":{{"name":"t","arguments":"{{}}"}}}}' for n in (0, 1))
    body = f'{{"role":"assistant","tool_calls":[{texts}]}}'
    requested = [
        f.RequestedCall(key=key, id=f"c{key.ordinal}", name="t", arguments="{}", effect=Effect.ONCE, schema_hash=None)
        for key in (FIRST, SECOND)
    ]
    message = f.NewMessage(seq=2, role="assistant", body=body)
    return f.CallsRequested(session=S, turn=1, round=1, message=message, model_call=SPENT, calls=tuple(requested))


def started(*keys: CallKey) -> f.CallsStarted:
    return f.CallsStarted(session=S, turn=1, calls=keys)


def settled(key: CallKey, state: CallState = CallState.SUCCEEDED, *, seq: int | None = None) -> f.CallSettled:
    body = f'{{"role":"tool","tool_call_id":"c{key.ordinal}","content":"done"}}'
    message = f.NewMessage(seq=key.seq + 1 + key.ordinal if seq is None else seq, role="tool", body=body)
    return f.CallSettled(session=S, turn=1, key=key, state=state, settled_by=SettledBy.RUN, message=message)


def answer(seq: int) -> f.AnswerReceived:
    message = f.NewMessage(seq=seq, role="assistant", body='{"role":"assistant","content":"done"}')
    return f.AnswerReceived(
        session=S, turn=1, round=2, message=message, model_call=SPENT, status="completed", stop_reason="stop"
    )


async def refused(store: SessionStore, path: Path, claim: Claim, facts: Sequence[f.Fact]) -> None:
    before = dump(path)
    with pytest.raises(StateError):
        await store.record(claim, facts)
    assert dump(path) == before


@pytest.mark.acceptance("B1")
async def test_the_store_neither_starts_nor_settles_a_settled_call(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    await store.record(claim, [asked(), started(FIRST)])
    await store.record(claim, [settled(FIRST)])
    await refused(store, path, claim, [started(FIRST)])
    await refused(store, path, claim, [settled(FIRST)])
    await refused(store, path, claim, [settled(FIRST, CallState.FAILED, seq=9)])
    await refused(store, path, claim, [settled(SECOND)])  # it never started
    await store.aclose()


@pytest.mark.acceptance("B1")
async def test_the_store_ends_no_round_that_has_an_open_call(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    await store.record(claim, [asked(), started(FIRST)])
    await refused(store, path, claim, [settled(FIRST), f.RoundClosed(session=S, turn=1, round=1)])
    await store.aclose()


@pytest.mark.acceptance("A1")
async def test_an_answer_within_a_round_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    await refused(store, path, claim, [f.RoundClosed(session=S, turn=1, round=1)])
    await store.record(claim, [asked(), started(FIRST)])
    await refused(store, path, claim, [answer(5)])
    await store.aclose()


@pytest.mark.acceptance("A1")
async def test_facts_that_are_not_for_this_moment_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    dropped = f.AnswerDropped(session=S, turn=1, model_call=SPENT)
    cancelled = f.TurnCancelled(session=S, turn=1, status="cancelled", stop_reason="enough")
    for late in (dropped, cancelled):
        await refused(store, path, claim, [answer(2), late])  # the turn has ended by then
    await refused(store, path, claim, [f.TurnBegan(session=S, turn=1, origin=1, request_id=None, input=())])
    await store.record(claim, [asked(), started(FIRST)])
    await refused(store, path, claim, [dropped])
    note = f.NewMessage(seq=5, role="user", body=HELLO, place=1)
    folding = f.HistoryCompacted(
        session=S, turn=1, folded=(1,), notes=(note,), strategy="summary", before_tokens=9, after_tokens=4, window=9
    )
    await refused(store, path, claim, [folding])
    await store.aclose()


@pytest.mark.acceptance("D2")
async def test_nothing_is_taken_in_within_a_round(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    await store.record(claim, [asked(), started(FIRST)])
    assert isinstance(await store.queue_input(Input(session=S, body=HELLO, queue=InputMode.STEER)), Waiting)
    before = dump(path)
    with pytest.raises(StateError):
        await store.take_inputs(claim)
    assert dump(path) == before
    await store.aclose()


@pytest.mark.acceptance("D1", "D2")
async def test_a_driver_that_lost_its_session_takes_no_input_in(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    zombie, heir = await open_store(path), await open_store(path)
    await zombie.create_session(NewSession(id=S))
    old = await begun(zombie)
    assert isinstance(await heir.resume_turn(S, {}, force=True), Begun)
    assert isinstance(await heir.queue_input(Input(session=S, body=HELLO, queue=InputMode.STEER)), Waiting)
    before = dump(path)
    # The turn of the old claim has ended too; what is to be told first is that the session is lost.
    with pytest.raises(EpochLostError):
        await zombie.take_inputs(old.claim)
    assert dump(path) == before
    await zombie.aclose()
    await heir.aclose()


@pytest.mark.acceptance("D1")
async def test_a_robbed_turn_that_ends_late_frees_nothing(tmp_path: Path) -> None:
    """Our turn is robbed, the robber ends, and we have a new turn when the old one notices and lets go."""
    path = tmp_path / "agent.db"
    ours, robber = await open_store(path), await open_store(path)
    await ours.create_session(NewSession(id=S))
    old = await begun(ours)
    stolen = await robber.resume_turn(S, {}, force=True)
    assert isinstance(stolen, Begun)
    await robber.record(stolen.claim, [f.TurnCancelled(session=S, turn=2, status="cancelled", stop_reason="enough")])
    robber.release(stolen.claim)
    new = await ours.resume_turn(S, {})
    assert isinstance(new, Begun)
    ours.release(old.claim)
    assert (await ours.session_info(S)).state is SessionState.RUNNING
    ours.release(new.claim)
    assert (await ours.session_info(S)).state is SessionState.INTERRUPTED_BEFORE_MODEL
    await ours.aclose()
    await robber.aclose()


@pytest.mark.acceptance("E2")
async def test_a_message_is_folded_once(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim

    def folding(*folded: int, note: int) -> f.HistoryCompacted:
        message = f.NewMessage(seq=note, role="user", body='{"role":"user","content":"a note"}', place=1)
        return f.HistoryCompacted(
            session=S, turn=1, folded=folded, notes=(message,), strategy="summary", before_tokens=9, after_tokens=4,
            window=9,
        )  # fmt: skip

    await store.record(claim, [folding(1, note=2)])
    await refused(store, path, claim, [folding(2, 1, note=3)])
    await refused(store, path, claim, [folding(2, 7, note=3)])
    await store.aclose()


@pytest.mark.acceptance("C6")
async def test_a_request_to_stop_dies_with_the_turn_it_was_for(tmp_path: Path) -> None:
    """Its driver died before it heard of it; the turn that comes next was not meant."""
    store, eye = await open_store(tmp_path / "agent.db"), await open_store(tmp_path / "agent.db")
    await store.create_session(NewSession(id=S))
    await begun(store)
    assert await eye.request_stop(S, "enough")
    await store.aclose()
    await begun(eye)
    assert await eye.stops_requested() == []
    await eye.aclose()


@pytest.mark.acceptance("A1")
async def test_of_facts_that_belong_together_none_is_stored_if_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    claim = (await begun(store)).claim
    before = dump(path)
    with pytest.raises(StateError):
        await StoreSink(store, claim).record([asked(), f.RoundClosed(session=S, turn=1, round=1)])
    assert dump(path) == before
    await store.aclose()


@pytest.mark.acceptance("D2")
async def test_an_input_is_taken_out_only_while_it_waits_and_only_by_its_session(tmp_path: Path) -> None:
    path, other = tmp_path / "agent.db", SessionId("other")
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    await store.create_session(NewSession(id=other))
    claim = (await begun(store)).claim
    steering = await store.queue_input(Input(session=S, body=HELLO, queue=InputMode.STEER, request_id="steers"))
    assert isinstance(steering, Waiting)
    before = dump(path)
    assert not await store.withdraw_input(other, steering.number)
    assert dump(path) == before
    assert len((await store.take_inputs(claim)).messages) == 1
    before = dump(path)
    assert not await store.withdraw_input(S, steering.number)
    assert dump(path) == before
    await store.aclose()


@pytest.mark.acceptance("D2")
async def test_what_the_dead_left_in_the_inbox_of_a_session_goes_when_it_is_closed(tmp_path: Path) -> None:
    store, sender = await open_store(tmp_path / "agent.db"), await open_store(tmp_path / "agent.db")
    await store.create_session(NewSession(id=S))
    assert isinstance(await sender.queue_input(Input(session=S, body=HELLO, queue=InputMode.WAIT)), Waiting)
    await sender.aclose()
    assert len(await store.queued_inputs(S)) == 1
    await store.close_session(S, cascade=True)
    assert await store.queued_inputs(S) == []
    await store.aclose()


@pytest.mark.acceptance("B4")
async def test_what_somebody_has_written_down_as_interrupted_is_no_orphan_any_more(tmp_path: Path) -> None:
    """Another process found it and left it to a person; one that still believes it an orphan does not go on with it."""
    path = tmp_path / "agent.db"
    owner, store = await open_store(path), await open_store(path)
    await owner.create_session(NewSession(id=S))
    await begun(owner)
    await owner.aclose()
    assert await store.orphans() == [S]
    assert await store.interrupt_session(S) is not None
    before = dump(path)
    assert isinstance(await store.resume_turn(S, {}, only_orphan=True), Known)
    assert dump(path) == before
    await store.aclose()


@pytest.mark.acceptance("D2")
async def test_an_input_whose_sender_lives_is_left_to_its_sender(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store, sender = await open_store(path), await open_store(path)
    await store.create_session(NewSession(id=S))
    assert isinstance(await sender.queue_input(Input(session=S, body=HELLO, queue=InputMode.WAIT)), Waiting)
    before = dump(path)
    assert await store.begin_next(S, None) is None
    assert dump(path) == before
    await sender.aclose()
    assert isinstance(await store.begin_next(S, None), Begun)
    await store.aclose()
