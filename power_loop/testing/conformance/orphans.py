"""Owners that die: their sessions are found at once, and exactly one process takes each up."""

from __future__ import annotations

import asyncio

import pytest

from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import EpochLostError, SessionBusyError
from power_loop.store.contract import Begun, Known, SessionStore
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    OpenStore,
    S,
    begun,
    input_of,
    made,
    opened,
    resumed,
    settled,
    texts,
    unchanged,
)
from power_loop.values import SessionId


class OrphanRules(StoreRules):
    async def test_a_living_owner_leaves_no_orphan_and_a_dead_one_does(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            store = await self._died_in_tools(open_store, other)
            assert await other.orphans() == [S]
            info = await other.session_info(S)
            assert (info.state, info.owner) == (SessionState.INTERRUPTED_IN_TOOLS, None)
            assert [call.state for call in await other.pending(S)] == ["in_doubt", "requested"]
            await store.aclose()

    async def test_a_dead_owner_is_replaced_at_once_and_its_turn_written_down_as_interrupted(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as other:
            await self._died_in_tools(open_store, other)
            turn = await resumed(other)
            first, second = await other.turns(S)
            assert (first.state, first.status, second.origin) == (TurnState.INTERRUPTED, "interrupted", 1)
            assert await other.orphans() == []
            await turn.record(turn.starts(1), turn.settles(1, "seen"))
            assert await settled(other) == [("call_0", "started"), ("call_1", "succeeded")]

    async def test_an_input_goes_on_where_an_owner_died_before_the_answer(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            store = await open_store()
            await made(store)
            await begun(store, text="first")
            await self.abandon(store)
            assert (await other.session_info(S)).state is SessionState.INTERRUPTED_BEFORE_MODEL
            turn = await begun(other, text="second")
            await turn.record(turn.answers())
            assert await texts(other) == ["user first", "user second", "assistant hello"]
            assert [row.state for row in await other.turns(S)] == [TurnState.INTERRUPTED, TurnState.DONE]

    async def test_of_many_that_recover_at_once_exactly_one_gets_the_session(self, open_store: OpenStore) -> None:
        async with opened(open_store) as one, opened(open_store) as two, opened(open_store) as three:
            await self._died_in_tools(open_store, one)
            got = await asyncio.gather(
                *(owner.resume_turn(S, {}, only_orphan=True) for owner in (one, two, three) * 3),
                return_exceptions=True,
            )
            assert sum(isinstance(one, Begun) for one in got) == 1
            assert all(isinstance(one, Begun | Known | SessionBusyError) for one in got)
            assert len(await one.turns(S)) == 2

    @pytest.mark.parametrize("reason", [None, "nobody came back"])
    async def test_a_death_is_written_down_once(self, open_store: OpenStore, reason: str | None) -> None:
        async with opened(open_store) as one, opened(open_store) as two:
            await self._died_in_tools(open_store, one)
            got = await asyncio.gather(*(owner.interrupt_session(S, abort_reason=reason) for owner in (one, two) * 4))
            (turn,) = [turn for turn in got if turn is not None]
            assert turn.number == 1
            assert await one.orphans() == []
            (row,) = await one.turns(S)
            calls = [state for _, state in await settled(one)]
            if reason is None:
                assert (row.state, calls) == (TurnState.INTERRUPTED, ["started", "requested"])
            else:
                assert (row.state, calls) == (TurnState.CANCELLED, ["aborted", "aborted"])

    async def test_open_calls_of_a_dead_owner_can_be_given_up(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            await self._died_in_tools(open_store, other)
            assert await other.abort_pending(S, "gone") == ["call_0", "call_1"]
            assert await other.orphans() == []
            turn = await begun(other, text="next")
            await turn.record(turn.answers())

    async def test_nobody_can_stop_the_dead(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            await self._died_in_tools(open_store, other)
            async with unchanged(other):
                assert await other.request_stop(S, "stop") is False

    async def test_what_a_dead_owner_left_can_be_deleted(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            await self._died_in_tools(open_store, other)
            assert await other.delete_session(S) == [S]
            assert await other.orphans() == []

    async def test_sessions_of_the_living_are_no_orphans_beside_those_of_the_dead(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            await made(other, "mine")
            mine = await begun(other, "mine")
            await self._died_in_tools(open_store, other)
            assert await other.orphans() == [S]
            async with opened(open_store) as third:
                assert await third.orphans() == [S]
                assert await third.interrupt_session(SessionId("mine")) is None
            await mine.record(mine.answers())

    async def test_a_turn_that_was_released_and_never_ended_is_an_orphan_too(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            late = await begun(store)
            late.ends()
            assert await store.orphans() == [S]
            await resumed(store)
            assert await store.orphans() == []
            with pytest.raises(EpochLostError):
                await late.record(late.answers())

    async def test_a_session_of_the_dead_can_be_begun_with_its_calls_given_up(self, open_store: OpenStore) -> None:
        async with opened(open_store) as other:
            await self._died_in_tools(open_store, other)
            got = await other.begin_turn(input_of("next", abort_reason="gone"))
            assert isinstance(got, Begun)
            assert await settled(other) == [("call_0", "aborted"), ("call_1", "aborted")]
            assert (await other.turns(S))[0].state in (TurnState.INTERRUPTED, TurnState.CANCELLED)

    async def _died_in_tools(self, open_store: OpenStore, witness: SessionStore) -> SessionStore:
        """An owner that died with `call_0` started and `call_1` requested."""
        store = await open_store()
        await made(store)
        turn = await begun(store)
        await turn.record(turn.asks("pay", "look"), turn.starts(0))
        assert S not in await witness.orphans()
        await self.abandon(store)
        return store
