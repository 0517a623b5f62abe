"""What happened is kept as events: every fact once, numbered, in order, equal to what was recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.errors import SessionBusyError, SessionNotFoundError, StateError
from power_loop.store.contract import HostResult, Resolution, Said, SessionStore
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.folding import folding
from power_loop.testing.conformance.kit import (
    UNICODE,
    OpenStore,
    S,
    answered,
    begun,
    input_of,
    made,
    opened,
    pending,
    resumed,
    spent,
    unchanged,
)
from power_loop.values import InputMode, Micros, SessionId


async def happened(store: SessionStore, after: int = 0, limit: int = 1000) -> list[f.Fact]:
    """The facts of the session behind a cursor; their numbers and their count are right."""
    page = await store.events(S, after, limit)
    assert [event.number for event in page.events] == list(range(after + 1, after + 1 + len(page.events)))
    assert len(page.events) == min(limit, page.last - after)
    facts = [event.fact for event in page.events if isinstance(event.fact, f.Fact)]
    assert len(facts) == len(page.events)
    return facts


async def since(store: SessionStore, after: int) -> list[str]:
    """What happened, in short."""
    return [type(fact).__name__ for fact in await happened(store, after)]


class EventRules(StoreRules):
    async def test_facts_are_read_back_as_they_were_from_every_cursor(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store, text=UNICODE, pinned=True)
            recorded: list[f.Fact] = [turn.begun.fact]
            commits: list[list[f.Fact]] = [
                [turn.drops()],
                [turn.asks("pay", "look", text=UNICODE), turn.starts(0, 1)],
                [turn.settles(1, "short", output=UNICODE * 100)],
                [turn.settles(0, UNICODE, CallState.FAILED), turn.closes()],
                [turn.folds(2, 3, 4, text=UNICODE)],
                [turn.answers(UNICODE)],
            ]
            for facts in commits:
                await turn.record(*facts)
                recorded += facts
            turn.ends()
            assert await happened(store) == recorded
        async with opened(open_store) as store:
            for after in range(len(recorded) + 1):
                for limit in (1, 2, 100):
                    assert await happened(store, after, limit) == recorded[after : after + limit]
            assert (await store.events(S, len(recorded) + 5, 100)).events == ()

    async def test_record_tells_the_number_of_its_last_event(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            assert turn.begun.events == 1
            assert await store.record(turn.claim, [turn.asks("pay"), turn.starts(0)]) == 3
            assert await store.record(turn.claim, [turn.settles(0), turn.closes()]) == 5
            await store.queue_input(input_of("steers", queue=InputMode.STEER))
            taken = await store.take_inputs(turn.claim)
            assert taken.events == 6
            assert await happened(store, 5) == [f.InputSteered(session=S, turn=1, messages=taken.messages)]
            assert (await store.take_inputs(turn.claim)).events == 6

    async def test_a_refused_change_is_no_event(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            async with unchanged(store):
                with pytest.raises(StateError):
                    await store.record(turn.claim, [turn.drops(), turn.closes()])
                with pytest.raises(SessionBusyError):
                    await other.abort_pending(S, "no")
            await turn.record(turn.answers())
            assert await since(store, 0) == ["TurnBegan", "AnswerReceived"]

    async def test_the_dead_are_written_down_in_the_commit_that_goes_on(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            turn.ends()
            keys = turn.keys
            got = await resumed(store, decisions={"call_1": "abort"})
            found = await happened(store, 3)
            assert found == [
                f.TurnInterrupted(session=S, turn=1),
                f.CallsAborted(session=S, turn=1, calls=(keys[1],), reason="given up by decision"),
                got.begun.fact,
            ]
            assert got.begun.events == 6
            assert [message.seq for message in got.begun.fact.input] == [4]
            got.ends()
            third = await begun(store, text="next", abort_reason="enough")
            assert await happened(store, 6) == [
                f.TurnInterrupted(session=S, turn=2),
                f.CallsAborted(session=S, turn=2, calls=(keys[0],), reason="enough"),
                third.begun.fact,
            ]

    async def test_what_people_do_from_outside_is_an_event(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await pending(store)
            await store.resolve_call(S, "call_0", Resolution(content=UNICODE, failed=True))
            (settled,) = await happened(store, 4)
            assert isinstance(settled, f.CallSettled)
            assert (settled.key, settled.state, settled.settled_by) == (
                turn.keys[0],
                CallState.FAILED,
                SettledBy.PERSON,
            )
            await store.abort_pending(S, UNICODE)
            given_up = f.CallsAborted(session=S, turn=1, calls=(turn.keys[1],), reason=UNICODE)
            assert await happened(store, 5) == [given_up]
            dead = await begun(store, text="again")
            dead.ends()
            await store.interrupt_session(S)
            assert await happened(store, 7) == [f.TurnInterrupted(session=S, turn=2)]
            (await begun(store, text="last")).ends()
            await store.close_session(S, True)
            assert await happened(store, 9) == [
                f.CallsAborted(session=S, turn=3, calls=(), reason="the session was closed")
            ]

    async def test_approvals_and_results_from_outside_are_events(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look", "ask"))
            waits = [
                f.Wait(key=key, arguments=f'{{"n":"{n}"}}', reason=UNICODE, expires_at=Micros(2**51 + n))
                for n, key in enumerate(turn.keys)
            ]
            stamp: f.Stamp = {"session": S, "turn": 1}
            asked = f.ApprovalsRequested(**stamp, calls=tuple(waits[:2]))
            handed = f.ResultsAwaited(**stamp, calls=(f.Wait(key=turn.keys[2], arguments="{}"),))
            await turn.record(asked, handed)
            assert await happened(store, 2) == [asked, handed]
            await store.decide_approval(S, "call_0", Said(approved=False, by="ann", reason=UNICODE))
            denied = f.ApprovalDecided(**stamp, key=turn.keys[0], decision="denied", by="ann", reason=UNICODE)
            assert await happened(store, 4) == [denied]  # though a turn runs
            await turn.record(turn.parks())
            turn.ends()
            await store.decide_approval(S, "call_1", Said(approved=True, by=UNICODE, arguments='{"n":2}'))
            assert await since(store, 6) == ["ApprovalDecided", "CallSettled"]
            approved = f.ApprovalDecided(
                **stamp, key=turn.keys[1], decision="approved", by=UNICODE, arguments='{"n":2}'
            )
            assert (await happened(store, 6))[0] == approved
            await store.submit_results(S, {"call_2": HostResult(content=UNICODE)})
            (given,) = await happened(store, 8)
            assert isinstance(given, f.CallSettled)
            assert (given.key, given.state) == (turn.keys[2], CallState.SUCCEEDED)

    async def test_an_approval_nobody_gave_in_time_is_an_event(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"))
            late = f.Wait(key=turn.keys[0], arguments="{}", expires_at=Micros(1))
            await turn.record(f.ApprovalsRequested(session=S, turn=1, calls=(late,)))
            await turn.record(turn.parks())
            turn.ends()
            got = await resumed(store)
            expired = f.ApprovalDecided(session=S, turn=1, key=late.key, decision="expired", by=None)
            found = await happened(store, 4)
            assert [found[0], found[2]] == [expired, got.begun.fact]
            assert [type(fact).__name__ for fact in found] == ["ApprovalDecided", "CallSettled", "TurnBegan"]

    async def test_compactions_outside_a_turn_are_events(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            for _ in range(3):
                await answered(store)
            failed = f.CompactionFailed(session=S, turn=3, strategy="x", reason=UNICODE, model_calls=(spent(),))
            await store.count_failed_compaction(S, failed)
            fact = replace(folding(1, 2, 3, next_seq=7, text=UNICODE), turn=3)
            await store.compact_session(S, (await store.history(S)).epoch, fact)
            await store.undo_compaction(S)
            assert await happened(store, 6) == [failed, fact, f.CompactionUndone(session=S, turn=3, compaction=1)]

    async def test_a_session_set_aside_says_so(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            (await resumed(store)).ends()
            await store.resume_turn(S, {}, max_recoveries=1)
            assert await happened(store, 5) == [
                f.TurnInterrupted(session=S, turn=2),
                f.SessionQuarantined(session=S, turn=2, recoveries=1),
            ]

    async def test_sessions_number_apart_and_one_made_again_begins_anew(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            for name in ("s", "other"):
                await made(store, name)
                await answered(store, session=name)
            first, other = await store.events(S, 0, 10), await store.events(SessionId("other"), 0, 10)
            assert [event.number for event in first.events] == [event.number for event in other.events] == [1, 2]
            assert first.key != other.key
            await store.delete_session(S)
            with pytest.raises(SessionNotFoundError):
                await store.events(S, 0, 10)
            await made(store)
            again = await store.events(S, 0, 10)
            assert (again.last, again.events) == (0, ())
            assert again.key != first.key
