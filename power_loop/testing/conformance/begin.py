"""How turns begin: inputs, request ids, refusals, and going on."""

from __future__ import annotations

import asyncio

import pytest

from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import (
    CallNotFoundError,
    CallSettledError,
    InputInvalidError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    SessionPendingError,
)
from power_loop.store.contract import Begun, Known, NewSession
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    OpenStore,
    S,
    answered,
    begun,
    input_of,
    made,
    opened,
    pending,
    resumed,
    settled,
    texts,
    unchanged,
)
from power_loop.values import SessionId


class BeginRules(StoreRules):
    async def test_a_claim_told_ahead_is_stored_once_it_says_so(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            ahead = await store.begin_turn(input_of("hi", request_id="r"), ahead=True)
            assert isinstance(ahead, Begun)
            if ahead.stored is not None:
                await ahead.stored()
            assert await texts(store) == ["user hi"]
            assert (ahead.claim.turn, ahead.claim.epoch, ahead.next_seq) == (1, 1, 2)
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.begin_turn(input_of("me too"), ahead=True)
            store.release(ahead.claim)
            known = await store.begin_turn(input_of("hi", request_id="r"), ahead=True)
            assert isinstance(known, Known)

    async def test_a_turn_begins_with_its_input_stored_and_the_session_claimed(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, system='{"role":"system","content":"be kind"}')
            turn = await begun(store, text="hi", metadata='{"from":"ann"}')
            got = turn.begun
            assert (got.claim.turn, got.claim.epoch, got.was) == (1, 1, 0)
            assert (got.origin, got.state, got.next_seq, got.active) == (1, TurnState.ASKING, 3, 2)
            assert [(message.seq, message.role) for message in got.added] == [(2, "user")]
            assert (got.rounds, got.tool_calls, got.calls) == (0, 0, ())
            info = await store.session_info(S)
            assert (info.state, info.turns, info.messages, info.active_messages) == (SessionState.RUNNING, 1, 2, 2)
            assert info.owner
            assert info.owner_since is not None
            assert await texts(store) == ["system be kind", "user hi"]
            (row,) = await store.turns(S)
            assert (row.state, row.metadata, row.status, row.ended_at) == (
                TurnState.ASKING,
                {"from": "ann"},
                None,
                None,
            )

    async def test_a_session_can_be_made_in_the_commit_of_its_first_turn(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            new = NewSession(id=S, system='{"role":"system","content":"be kind"}', model="small-1", metadata='{"n":2}')
            turn = await begun(store, create=new)
            assert turn.begun.model == "small-1"
            assert (await store.session_info(S)).metadata == {"n": 2}
            assert await texts(store) == ["system be kind", "user hi"]

    async def test_where_a_turn_cannot_begin_no_session_is_made_along_with_it(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            async with unchanged(store):
                with pytest.raises(SessionNotFoundError):
                    await store.begin_turn(input_of(create=NewSession(id=S, parent=SessionId("nobody"))))
            await made(store)
            await store.archive_session(S, True)
            async with unchanged(store):
                with pytest.raises(SessionArchivedError):
                    await store.begin_turn(input_of(request_id="r", create=NewSession(id=S)))

    async def test_one_session_has_one_live_turn(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            await begun(store)
            for owner in (store, other):
                async with unchanged(owner):
                    with pytest.raises(SessionBusyError) as busy:
                        await owner.begin_turn(input_of("me too"))
                    assert busy.value.owner == (await store.session_info(S)).owner
                    with pytest.raises(SessionBusyError):
                        await owner.resume_turn(S, {})
                    with pytest.raises(SessionBusyError):
                        await owner.resume_turn(S, {}, only_orphan=True)

    async def test_of_many_that_begin_at_once_exactly_one_does(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            tries = [owner.begin_turn(input_of(str(n))) for n in range(10) for owner in (store, other)]
            got = await asyncio.gather(*tries, return_exceptions=True)
            assert [type(one) for one in got if not isinstance(one, SessionBusyError)] == [Begun]
            assert len(await store.turns(S)) == 1
            assert len(await texts(store)) == 1

    async def test_a_request_id_stores_its_input_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store, request_id="r1")
            async with unchanged(store):
                known = await store.begin_turn(input_of("again", request_id="r1"))
            assert isinstance(known, Known)
            assert known.session.id == S
            assert known.turn is not None
            assert (known.turn.number, known.turn.request_id, known.turn.status) == (1, "r1", "completed")
            await answered(store, request_id="r2")
            assert await texts(store) == ["user hi", "assistant hello"] * 2

    async def test_a_known_request_shows_the_last_turn_that_worked_on_it(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store, request_id="r1")
            await turn.record(turn.fails())
            turn.ends()
            again = await resumed(store)
            await again.record(again.answers())
            again.ends()
            known = await store.begin_turn(input_of("again", request_id="r1"))
            assert isinstance(known, Known)
            assert known.turn is not None
            assert (known.turn.number, known.turn.origin, known.turn.state) == (2, 1, TurnState.DONE)

    async def test_a_request_is_known_even_where_a_new_input_would_be_refused(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store, request_id="r1")
            await pending(store)
            known = await store.begin_turn(input_of("again", request_id="r1"))
            assert isinstance(known, Known)
            await store.close_session(S, True)
            assert isinstance(await store.begin_turn(input_of("again", request_id="r1")), Known)

    async def test_open_calls_refuse_a_new_input_and_the_refusal_carries_them(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await pending(store)
            async with unchanged(store):
                with pytest.raises(SessionPendingError) as refused:
                    await store.begin_turn(input_of("next"))
            calls = refused.value.calls
            assert [(call.id, call.name, call.arguments, call.state) for call in calls] == [
                ("call_0", "pay", '{"n": 0}', "in_doubt"),
                ("call_1", "look", '{"n": 1}', "requested"),
            ]
            assert list(calls) == await store.pending(S)
            assert [call.key for call in await store.pending(S)] == turn.keys

    async def test_a_new_input_can_give_open_calls_up_in_its_own_commit(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            turn = await begun(store, text="next", abort_reason="no time")
            assert [message.role for message in turn.begun.added] == ["tool", "tool", "user"]
            assert await settled(store) == [("call_0", "aborted"), ("call_1", "aborted")]
            found = await texts(store)
            assert [text.split()[0] for text in found] == ["user", "assistant", "tool", "tool", "user"]
            assert "no time" in found[2]
            assert (await store.session_info(S)).active_messages == 5 == turn.begun.active

    @pytest.mark.parametrize(("closed", "error"), [(True, SessionClosedError), (False, SessionArchivedError)])
    async def test_a_closed_or_archived_session_takes_no_input(
        self, open_store: OpenStore, closed: bool, error: type[Exception]
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await answered(store)
            if closed:
                await store.close_session(S, True)
            else:
                await store.archive_session(S, True)
            async with unchanged(store):
                with pytest.raises(error):
                    await store.begin_turn(input_of())
                with pytest.raises(error):
                    await store.resume_turn(S, {})

    async def test_going_on_is_a_turn_of_its_own_that_names_the_first(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            turn = await resumed(store)
            assert (turn.claim.turn, turn.begun.origin, turn.begun.state) == (2, 1, TurnState.ACTING)
            assert (turn.begun.rounds, turn.begun.tool_calls) == (1, 2)
            assert [(call.id, call.attempt) for call in turn.begun.calls] == [("call_0", 1), ("call_1", 0)]
            first, second = await store.turns(S)
            assert (first.state, first.status) == (TurnState.CANCELLED, "cancelled")
            assert (second.state, second.origin) == (TurnState.ACTING, 1)
            await turn.record(turn.starts(0, 1), turn.settles(0), turn.settles(1), turn.closes())
            await turn.record(turn.answers())
            assert [call.attempt for call in await store.calls(S)] == [2, 1]

    async def test_a_failed_turn_is_asked_again(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.fails())
            turn.ends()
            assert (await store.session_info(S)).state is SessionState.FAILED
            again = await resumed(store)
            assert (again.begun.state, again.begun.origin) == (TurnState.ASKING, 1)
            assert await texts(store) == ["user hi"]

    async def test_there_is_nothing_to_go_on_from_before_the_first_input_and_after_an_answer(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            known = await store.resume_turn(S, {})
            assert isinstance(known, Known)
            assert known.turn is None
            await answered(store)
            async with unchanged(store):
                known = await store.resume_turn(S, {})
            assert isinstance(known, Known)
            assert known.turn is not None
            assert known.turn.number == 1

    async def test_only_orphan_leaves_a_turn_that_somebody_ended(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            async with unchanged(store):
                assert isinstance(await store.resume_turn(S, {}, only_orphan=True), Known)

    async def test_decisions_of_a_resume_stand_before_it_runs(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            turn = await resumed(store, decisions={"call_0": "report", "call_1": "abort"})
            assert [(call.id, call.decision) for call in turn.begun.calls] == [("call_0", "report")]
            assert await settled(store) == [("call_0", "started"), ("call_1", "aborted")]
            assert [message.role for message in turn.begun.added] == ["tool"]

    @pytest.mark.parametrize(
        ("decisions", "error"),
        [
            ({"nobody": "retry"}, CallNotFoundError),
            ({"call_0": "retry", "call_1": "retry"}, CallSettledError),
            ({"call_0": "perhaps"}, InputInvalidError),
        ],
    )
    async def test_a_decision_that_fits_no_call_changes_nothing(
        self, open_store: OpenStore, decisions: dict[str, str], error: type[Exception]
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            async with unchanged(store):
                with pytest.raises(error):
                    await store.resume_turn(S, decisions)
