"""What people decide about open calls: abort, resolve, retry, report, in every state a session can be in."""

from __future__ import annotations

import pytest

from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import CallNotFoundError, CallSettledError, SessionBusyError, SessionNotFoundError
from power_loop.store.contract import Resolution
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    OpenStore,
    S,
    answered,
    begun,
    made,
    opened,
    pending,
    resumed,
    settled,
    texts,
    unchanged,
)

ENDS = ("cancels", "fails", "parks", "ends")


class DecisionRules(StoreRules):
    @pytest.mark.parametrize("end", ENDS)
    async def test_abort_answers_every_open_call_once_whatever_ended_the_turn(
        self, open_store: OpenStore, end: str
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look", "read"), turn.starts(0, 2))
            await turn.record(turn.settles(2, "read it"))
            if end != "ends":
                await turn.record(getattr(turn, end)())
            outcome = next((row.status, row.stop_reason) for row in await store.turns(S))
            turn.ends()
            assert await store.abort_pending(S, "the shop closed") == ["call_0", "call_1"]
            assert await settled(store) == [("call_0", "aborted"), ("call_1", "aborted"), ("call_2", "succeeded")]
            found = await texts(store)
            assert [text.split()[0] for text in found] == ["user", "assistant", "tool", "tool", "tool"]
            assert "the shop closed" in found[2]
            assert "the shop closed" in found[3]
            assert found[2] != found[3]  # one may have happened, the other never ran
            assert found[4] == "tool read it"
            info = await store.session_info(S)
            assert (info.state, info.pending, info.active_messages) == (SessionState.STOPPED, (), 5)
            (row,) = await store.turns(S)
            assert (row.state, row.error_code) == (TurnState.CANCELLED, None)
            # A turn that was stopped before keeps the outcome that it was recorded with.
            given_up = ("cancelled", "the shop closed")
            assert (row.status, row.stop_reason) == (outcome if end == "cancels" else given_up)
            await answered(store, "next")
            assert (await store.session_info(S)).state is SessionState.IDLE

    async def test_abort_with_nothing_open_changes_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            for _ in range(2):
                async with unchanged(store):
                    assert await store.abort_pending(S, "why not") == []
                await answered(store)
            await pending(store)
            assert len(await store.abort_pending(S, "first")) == 2
            async with unchanged(store):
                assert await store.abort_pending(S, "second") == []

    async def test_abort_ends_a_turn_that_was_left_before_its_answer(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            turn.ends()
            assert (await store.session_info(S)).state is SessionState.INTERRUPTED_BEFORE_MODEL
            assert await store.abort_pending(S, "enough") == []
            assert (await store.session_info(S)).state is SessionState.STOPPED

    async def test_nothing_is_decided_over_a_living_driver(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"), turn.starts(0))
            for owner in (store, other):
                async with unchanged(owner):
                    with pytest.raises(SessionBusyError):
                        await owner.abort_pending(S, "no")
                    with pytest.raises(SessionBusyError):
                        await owner.resolve_call(S, "call_0", Resolution(content="paid"))
                    with pytest.raises(SessionBusyError):
                        await owner.archive_session(S, True)
                    with pytest.raises(SessionBusyError):
                        await owner.close_session(S, True)
                    with pytest.raises(SessionBusyError):
                        await owner.delete_session(S)
                    assert await owner.interrupt_session(S) is None
            await turn.record(turn.settles(0), turn.closes())

    @pytest.mark.parametrize(("failed", "state"), [(False, "succeeded"), (True, "failed")])
    async def test_a_person_says_what_became_of_a_call_in_doubt(
        self, open_store: OpenStore, failed: bool, state: str
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            await store.resolve_call(S, "call_0", Resolution(content="invoice 7 went out", failed=failed))
            call, _ = await store.calls(S)
            assert (call.state, call.settled_by, call.result_seq) == (state, "person", 3)
            assert "tool invoice 7 went out" in await texts(store)
            assert [call.id for call in await store.pending(S)] == ["call_1"]
            async with unchanged(store):
                with pytest.raises(CallSettledError):
                    await store.resolve_call(S, "call_0", Resolution(content="else"))

    @pytest.mark.parametrize("decision", ["retry", "report"])
    async def test_a_decision_is_durable_and_the_next_resume_takes_it_up_once(
        self, open_store: OpenStore, decision: str
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            await store.resolve_call(S, "call_0", Resolution(decision=decision))
        async with opened(open_store) as store:
            assert await settled(store) == [("call_0", "started"), ("call_1", "requested")]
            turn = await resumed(store)
            assert [(call.id, call.decision) for call in turn.begun.calls] == [("call_0", decision), ("call_1", None)]
            await turn.record(turn.starts(0))
            assert (await store.calls(S))[0].decision is None

    async def test_what_cannot_be_resolved_changes_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            await pending(store)
            async with unchanged(store):
                with pytest.raises(CallNotFoundError) as missing:
                    await store.resolve_call(S, "nobody", Resolution(content="x"))
                assert missing.value.open_ids == ("call_0", "call_1")
                with pytest.raises(CallSettledError):
                    await store.resolve_call(S, "call_1", Resolution(content="it never ran"))
                with pytest.raises(CallSettledError):
                    await store.resolve_call(S, "call_1", Resolution(decision="retry"))

    async def test_a_provider_id_used_twice_means_the_latest_call(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", ids=["same"]), turn.starts(0))
            await turn.record(turn.settles(0, "first"), turn.closes())
            await turn.record(turn.asks("pay", ids=["same"]), turn.starts(0))
            await turn.record(turn.cancels())
            turn.ends()
            await store.resolve_call(S, "same", Resolution(content="second"))
            assert [text for text in await texts(store) if text.startswith("tool")] == ["tool first", "tool second"]

    async def test_an_unknown_session_is_said_so_by_every_method(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store, "other")
            tries = (
                lambda: store.abort_pending(S, "no"),
                lambda: store.resolve_call(S, "call_0", Resolution(content="x")),
                lambda: store.interrupt_session(S),
                lambda: store.archive_session(S, True),
                lambda: store.close_session(S, True),
                lambda: store.delete_session(S),
                lambda: store.request_stop(S, "no"),
                lambda: store.resume_turn(S, {}),
                lambda: store.session_info(S),
                lambda: store.history(S),
                lambda: store.messages(S, include_compacted=True, mark_damage=True),
                lambda: store.message(S, 1),
                lambda: store.pending(S),
                lambda: store.calls(S),
                lambda: store.turns(S),
                lambda: store.usage(S, None),
            )
            async with unchanged(store):
                for asked in tries:
                    with pytest.raises(SessionNotFoundError) as missing:
                        await asked()
                    assert missing.value.session_id == S
