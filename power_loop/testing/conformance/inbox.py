"""The inbox: input that comes while a turn runs is durable at once, taken in once, and never lost with its sender."""

from __future__ import annotations

import asyncio

import pytest

from power_loop.errors import (
    EpochLostError,
    PowerLoopError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    SessionPendingError,
    StateError,
)
from power_loop.store.contract import Begun, Known, SessionStore, Waiting
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    UNICODE,
    Driven,
    OpenStore,
    S,
    answered,
    begun,
    input_of,
    made,
    opened,
    resumed,
    texts,
    unchanged,
)
from power_loop.values import InputMode


class InboxRules(StoreRules):
    async def test_input_that_may_wait_is_stored_while_a_turn_runs(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            await begun(store)
            got = await other.begin_turn(input_of(UNICODE, queue=InputMode.WAIT, request_id="r1", metadata='{"n":1}'))
            assert isinstance(got, Waiting)
            for reader in (store, other):
                (waiting,) = await reader.queued_inputs(S)
                assert (waiting.number, waiting.mode, waiting.text) == (got.number, InputMode.WAIT, UNICODE)
                assert (waiting.request_id, waiting.metadata) == ("r1", {"n": 1})
                assert waiting.sender
                assert (await reader.session_info(S)).queued == 1
                assert await texts(reader) == ["user hi"]
        async with opened(open_store) as store:
            assert [waiting.text for waiting in await store.queued_inputs(S)] == [UNICODE]

    async def test_input_that_may_wait_begins_at_once_where_nobody_drives(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            assert isinstance(await store.begin_turn(input_of(queue=InputMode.STEER)), Begun)
            assert await store.queued_inputs(S) == []

    async def test_a_request_that_waits_is_known_and_waits_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            wanted = input_of("more", queue=InputMode.WAIT, request_id="r1")
            first = await store.begin_turn(wanted)
            async with unchanged(store):
                for again in (await store.begin_turn(wanted), await store.queue_input(wanted)):
                    assert isinstance(again, Waiting)
                    assert isinstance(first, Waiting)
                    assert (again.number, again.ours, first.ours) == (first.number, False, True)
            await turn.record(turn.answers())
            turn.ends()
            assert isinstance(first, Waiting)
            next_turn = await store.begin_next(S, first.number)
            assert isinstance(next_turn, Begun)
            known = await store.queue_input(wanted)
            assert isinstance(known, Known)
            assert known.turn is not None
            assert known.turn.number == 2

    async def test_a_turn_takes_in_what_steers_it_between_rounds_in_the_order_of_arrival(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look"), turn.starts(0))
            for text in ("first", "second"):
                await other.begin_turn(input_of(text, queue=InputMode.STEER))
            await other.begin_turn(input_of("later", queue=InputMode.WAIT))
            assert await store.steered() == [S] == await other.steered()
            async with unchanged(store):
                with pytest.raises(StateError):  # its calls come first
                    await turn.takes()
            await turn.record(turn.settles(0), turn.closes())
            taken = await turn.takes()
            assert [(message.seq, message.role) for message in taken] == [(4, "user"), (5, "user")]
            assert await texts(other) == ["user hi", "assistant", "tool done", "user first", "user second"]
            assert (await store.session_info(S)).active_messages == 5
            assert [waiting.text for waiting in await store.queued_inputs(S)] == ["later"]
            assert await store.steered() == []
            async with unchanged(store):
                assert await turn.takes() == ()

    async def test_a_claim_that_was_lost_takes_nothing_in(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            late = await begun(store)
            await other.begin_turn(input_of("more", queue=InputMode.STEER))
            taken = await resumed(other, force=True)
            async with unchanged(other):
                with pytest.raises(EpochLostError):
                    await late.takes()
            assert len(await taken.takes()) == 1

    async def test_a_turn_of_a_deleted_session_takes_nothing_in(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            late = await begun(store)
            late.ends()
            await store.delete_session(S)
            with pytest.raises(SessionNotFoundError):
                await late.takes()

    async def test_waiting_inputs_become_turns_of_their_own_in_the_order_of_arrival(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            waiting = [await _queued(store, text, request_id=text) for text in ("a", "b", "c")]
            assert [one.number for one in waiting] == sorted({one.number for one in waiting})
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.begin_next(S, waiting[0].number)
            await turn.record(turn.answers())
            turn.ends()
            for number, text in enumerate(("a", "b", "c"), 2):
                # Whoever waits for the last one begins what came before it.
                got = await store.begin_next(S, waiting[2].number)
                assert isinstance(got, Begun)
                assert (got.claim.turn, got.request_id, got.input) == (number, text, waiting[number - 2].number)
                turn = Driven(store, got)
                await turn.record(turn.answers(f"answer {text}"))
                turn.ends()
            known = await store.begin_next(S, waiting[0].number)
            assert isinstance(known, Known)
            assert known.turn is not None
            assert known.turn.number == 2
            assert (await texts(store))[2:] == [
                "user a", "assistant answer a", "user b", "assistant answer b", "user c", "assistant answer c",
            ]  # fmt: skip

    async def test_new_input_stands_behind_what_waits(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await _queued(store, "first")
            await turn.record(turn.answers())
            turn.ends()
            assert isinstance(await store.begin_turn(input_of("second", queue=InputMode.WAIT)), Waiting)
            assert [waiting.text for waiting in await store.queued_inputs(S)] == ["first", "second"]

    async def test_of_many_that_begin_the_next_exactly_one_does(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            waiting = await _queued(store, "more")
            await turn.record(turn.answers())
            turn.ends()
            got = await asyncio.gather(
                *(owner.begin_next(S, waiting.number) for owner in (store, other) * 5), return_exceptions=True
            )
            assert [type(one) for one in got if not isinstance(one, SessionBusyError)] == [Begun]
            assert await texts(store) == ["user hi", "assistant hello", "user more"]

    async def test_input_is_withdrawn_as_long_as_it_waits(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            kept, withdrawn = await _queued(store, "kept", InputMode.STEER), await _queued(store, "withdrawn")
            assert await store.withdraw_input(S, withdrawn.number) is True
            await turn.takes()
            async with unchanged(store):
                assert await store.withdraw_input(S, withdrawn.number) is False
                assert await store.withdraw_input(S, kept.number) is False
                assert await store.withdraw_input(S, 10_000) is False
            await turn.record(turn.answers())
            turn.ends()
            async with unchanged(store):
                assert await store.begin_next(S, withdrawn.number) is None

    async def test_the_input_of_a_dead_sender_waits_for_whoever_comes(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            store = await open_store()
            await made(store)
            await begun(store)
            await _queued(store, "more")
            await _queued(other, "mine")
            assert await other.unattended() == []
            await self.abandon(store)
            assert await other.unattended() == [S]
            turn = await resumed(other)
            assert await other.unattended() == []
            await turn.record(turn.answers())
            turn.ends()
            got = await other.begin_next(S, None)
            assert isinstance(got, Begun)
            assert (await texts(other))[-1] == "user more"
            next_turn = Driven(other, got)
            await next_turn.record(next_turn.answers())
            next_turn.ends()
            async with unchanged(other):
                assert await other.begin_next(S, None) is None  # its sender lives, and begins it

    async def test_open_calls_stand_in_the_way_of_what_waits_or_are_given_up(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            waiting = await _queued(store, "more")
            await turn.record(turn.asks("pay"), turn.starts(0))
            await turn.record(turn.cancels())
            turn.ends()
            async with unchanged(store):
                with pytest.raises(SessionPendingError):
                    await store.begin_next(S, waiting.number)
            got = await store.begin_next(S, waiting.number, abort_reason="no time")
            assert isinstance(got, Begun)
            assert [text.split()[0] for text in await texts(store)] == ["user", "assistant", "tool", "user"]

    @pytest.mark.parametrize("how", ["close", "archive", "delete", "nobody"])
    async def test_a_session_that_takes_no_input_queues_none(self, open_store: OpenStore, how: str) -> None:
        errors = {"close": SessionClosedError, "archive": SessionArchivedError}
        async with opened(open_store) as store:
            if how != "nobody":
                await made(store)
                await answered(store)
            if how == "close":
                await store.close_session(S, True)
            elif how == "archive":
                await store.archive_session(S, True)
            elif how == "delete":
                await store.delete_session(S)
            error: type[PowerLoopError] = errors.get(how, SessionNotFoundError)
            async with unchanged(store):
                with pytest.raises(error):
                    await store.queue_input(input_of(queue=InputMode.WAIT))
                with pytest.raises(error):
                    await store.begin_next(S, None)

    async def test_deleting_a_session_takes_its_inbox_along(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            waiting = await _queued(store, "more", InputMode.STEER, request_id="r1")
            turn.ends()
            await store.delete_session(S)
            with pytest.raises(SessionNotFoundError):
                await store.queued_inputs(S)
            with pytest.raises(SessionNotFoundError):
                await store.withdraw_input(S, waiting.number)
            assert (await store.steered(), await store.unattended()) == ([], [])
            await made(store)
            assert await store.queued_inputs(S) == []
            assert isinstance(await store.begin_turn(input_of(request_id="r1")), Begun)

    async def test_a_hundred_inputs_at_once_each_wait_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            wanted = [input_of(str(n), queue=InputMode.STEER, request_id=f"r{n % 50}") for n in range(100)]
            got = await asyncio.gather(
                *((store, other)[n % 2].queue_input(one) for n, one in enumerate(wanted)), return_exceptions=True
            )
            assert {type(one) for one in got} == {Waiting}
            assert len({one.number for one in got if isinstance(one, Waiting)}) == 50
            taken = await turn.takes()
            assert len(taken) == 50
            assert len({message.body for message in taken}) == 50


async def _queued(store: SessionStore, text: str, queue: InputMode = InputMode.WAIT, **more: str) -> Waiting:
    got = await store.queue_input(input_of(text, queue=queue, **more))
    assert isinstance(got, Waiting), f"queue_input gave {got}"
    return got
