"""Epochs: whoever lost a session writes nothing into it any more, and hears so."""

from __future__ import annotations

import pytest

from power_loop.engine.turns import SessionState
from power_loop.errors import EpochLostError, SessionBusyError, SessionNotFoundError
from power_loop.store.contract import Begun
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    OpenStore,
    S,
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


class FencingRules(StoreRules):
    async def test_every_claim_outdates_the_one_before(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            first = await begun(store)
            first.ends()
            second = await begun(store, text="next")
            assert second.claim.epoch > first.claim.epoch
            assert second.begun.was == first.claim.epoch
            assert second.claim.turn == first.claim.turn + 1

    async def test_the_late_write_of_a_claim_that_was_lost_is_refused_whole(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            late = await begun(store)
            await late.record(late.asks("pay"), late.starts(0))
            taken = await resumed(other, force=True)
            async with unchanged(other):
                for facts in ([late.settles(0), late.closes()], [late.cancels()], [late.starts(0)], []):
                    with pytest.raises(EpochLostError) as lost:
                        await late.record(*facts)
                    assert (lost.value.ours, lost.value.current) == (late.claim.epoch, taken.claim.epoch)
            await taken.record(taken.starts(0), taken.settles(0, "mine"), taken.closes())
            await taken.record(taken.answers())
            assert await texts(other) == ["user hi", "assistant", "tool mine", "assistant hello"]
            with pytest.raises(EpochLostError):
                await late.record(late.cancels())

    async def test_a_claim_is_refused_even_when_the_session_is_idle_again(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            late = await begun(store)
            late.ends()
            assert await store.abort_pending(S, "nobody came back") == []
            async with unchanged(store):
                with pytest.raises(EpochLostError):
                    await late.record(late.answers())

    async def test_abort_and_resolve_outdate_who_drove_before(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            late = await begun(store)
            await late.record(late.asks("pay"), late.starts(0))
            with pytest.raises(SessionBusyError):
                await other.abort_pending(S, "it hangs")
            assert await other.abort_pending(S, "it hangs", force=True) == ["call_0"]
            async with unchanged(other):
                with pytest.raises(EpochLostError):
                    await late.record(late.settles(0))
            assert await settled(other) == [("call_0", "aborted")]

    async def test_force_robs_no_turn_of_the_same_owner(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await store.resume_turn(S, {}, force=True)
                with pytest.raises(SessionBusyError):
                    await store.abort_pending(S, "no", force=True)
            await turn.record(turn.answers())

    async def test_release_says_that_nobody_drives_a_turn_whatever_became_of_it(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"), turn.starts(0))
            turn.ends()
            info = await store.session_info(S)
            assert (info.state, info.owner) == (SessionState.INTERRUPTED_IN_TOOLS, None)
            assert [call.state for call in await store.pending(S)] == ["in_doubt"]
            assert (await resumed(store)).claim.turn == 2

    async def test_releasing_an_old_claim_leaves_the_new_one_alone(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            old = await begun(store)
            old.ends()
            new = await begun(store, text="next")
            old.ends()
            with pytest.raises(SessionBusyError):
                await store.begin_turn(input_of("me too"))
            new.ends()
            new.ends()

    async def test_a_session_made_again_under_its_id_takes_no_write_for_the_old_one(
        self, open_store: OpenStore
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            old = await begun(store)
            old.ends()
            await store.delete_session(S)
            with pytest.raises(SessionNotFoundError):
                await old.record(old.answers())
            await made(store)
            new = await store.begin_turn(input_of("anew"))
            assert isinstance(new, Begun)
            async with unchanged(store):
                with pytest.raises((EpochLostError, SessionNotFoundError)):
                    await old.record(old.answers())

    async def test_two_owners_at_work_in_two_sessions_do_not_disturb_each_other(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store, "a")
            await made(other, "b")
            one, two = await begun(store, "a"), await begun(other, "b")
            await one.record(one.asks("pay"), one.starts(0))
            await two.record(two.answers("two"))
            await one.record(one.settles(0), one.closes())
            await one.record(one.answers("one"))
            for reader in (store, other):
                assert (await texts(reader, "a"))[-1] == "assistant one"
                assert (await texts(reader, "b"))[-1] == "assistant two"

    async def test_a_pending_session_can_be_taken_up_by_any_owner(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            await pending(store)
            turn = await resumed(other)
            await turn.record(turn.starts(1), turn.settles(1))
            assert await settled(store) == [("call_0", "started"), ("call_1", "succeeded")]
