"""Recoveries are counted: a session that gets nowhere is set aside, and a person lets it go on."""

from __future__ import annotations

import pytest

from power_loop.engine.turns import SessionState
from power_loop.errors import SessionBusyError, SessionNotFoundError, SessionQuarantinedError
from power_loop.store.contract import Quarantined, SessionStore
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import OpenStore, S, begun, made, opened, pending, resumed, settled, unchanged


class RecoveryRules(StoreRules):
    async def test_recoveries_without_progress_are_counted_and_progress_begins_anew(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            for number in (1, 2, 3):
                turn = await resumed(store)
                await turn.record(turn.starts(0))
                assert (await store.session_info(S)).recoveries == number
                turn.ends()
            turn = await resumed(store)
            await turn.record(turn.settles(0))
            assert (await store.session_info(S)).recoveries == 0

    async def test_after_so_many_recoveries_a_session_is_set_aside_in_one_commit(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await self._set_aside(store)
        async with opened(open_store) as store:
            assert (await store.session_info(S)).state is SessionState.QUARANTINED
            assert await settled(store) == [("call_0", "started"), ("call_1", "requested")]
            async with unchanged(store):
                with pytest.raises(SessionQuarantinedError) as refused:
                    await store.resume_turn(S, {})
                assert [call.id for call in refused.value.calls] == ["call_0", "call_1"]

    async def test_a_session_that_was_set_aside_is_freed_once(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await self._set_aside(store)
            assert await store.free_session(S) is True
            async with unchanged(store):
                assert await store.free_session(S) is False
            assert (await store.session_info(S)).recoveries == 0
            await resumed(store, max_recoveries=2)

    async def test_the_calls_of_a_session_set_aside_can_be_given_up(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await self._set_aside(store)
            assert await store.abort_pending(S, "it gets nowhere") == ["call_0", "call_1"]
            turn = await begun(store, text="next")
            await turn.record(turn.answers())
            assert (await store.session_info(S)).state is SessionState.IDLE

    async def test_only_what_is_set_aside_and_undriven_is_freed(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            with pytest.raises(SessionNotFoundError):
                await store.free_session(S)
            await made(store)
            async with unchanged(store):
                assert await store.free_session(S) is False
            await begun(store)
            async with unchanged(other):
                with pytest.raises(SessionBusyError):
                    await other.free_session(S)

    async def test_calls_that_are_not_accepted_stop_a_resume_before_it_changes_anything(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            shown: list[str] = []

            def refuse(calls: object) -> None:
                shown.extend(call.id for call in calls)  # type: ignore[attr-defined]
                raise SessionBusyError(S, "the test", None)

            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.resume_turn(S, {}, accept=refuse)
            assert shown == ["call_0", "call_1"]

    async def _set_aside(self, store: SessionStore) -> None:
        await made(store)
        await pending(store)
        for _ in range(2):
            turn = await resumed(store, max_recoveries=2)
            turn.ends()
        got = await store.resume_turn(S, {}, max_recoveries=2)
        assert isinstance(got, Quarantined)
        assert [call.id for call in got.calls] == ["call_0", "call_1"]
