"""The ledger of calls: intent before effect, results at their places, and no move outside the tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from power_loop.engine import facts as f
from power_loop.engine.calls import SETTLED, CallState, SettledBy
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import StateError
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import Driven, OpenStore, S, begun, made, opened, settled, texts, unchanged
from power_loop.values import CallKey, Effect

Facts = Callable[[Driven], list[f.Fact]]

ILLEGAL_WHILE_ASKING: dict[str, Facts] = {
    "start a call nobody asked for": lambda turn: [_start(CallKey(1, 0), turn)],
    "close a round that is none": lambda turn: [turn.closes()],
    "park": lambda turn: [turn.parks()],
    "answer twice": lambda turn: [turn.answers(), turn.answers()],
    "ask for calls after the answer": lambda turn: [turn.answers(), turn.asks("pay")],
    "cancel after the answer": lambda turn: [turn.answers(), turn.cancels()],
    "fail after the answer": lambda turn: [turn.answers(), turn.fails()],
    "cancel twice": lambda turn: [turn.cancels(), turn.cancels()],
    "drop an answer after the end": lambda turn: [turn.answers(), turn.drops()],
    "fold after the end": lambda turn: [turn.answers(), turn.folds(1)],
    "fold what is not there": lambda turn: [turn.folds(77)],
    "fold twice": lambda turn: [turn.folds(1), turn.folds(1)],
    "a fact that is no driver's": lambda turn: [f.TurnInterrupted(session=S, turn=turn.claim.turn)],
    "an abort, which is no driver's": lambda turn: [f.CallsAborted(session=S, turn=turn.claim.turn, reason="no")],
}

ILLEGAL_WHILE_ACTING: dict[str, Facts] = {
    "answer with open calls": lambda turn: [turn.answers()],
    "ask for more calls": lambda turn: [turn.asks("pay")],
    "close the round with open calls": lambda turn: [turn.closes()],
    "settle a call that never started": lambda turn: [turn.settles(1)],
    "time out a call that never started": lambda turn: [turn.settles(1, state=CallState.TIMED_OUT)],
    "report a call that never started": lambda turn: [turn.settles(1, state=CallState.REPORTED, by=SettledBy.REPORT)],
    "settle twice": lambda turn: [turn.settles(0), turn.settles(0)],
    "start what is settled": lambda turn: [turn.settles(0), turn.starts(0)],
    "drop an answer": lambda turn: [turn.drops()],
    "fold": lambda turn: [turn.folds(1)],
    "one fact too many at the end": lambda turn: [turn.settles(0), turn.starts(1), turn.closes()],
    "settle after the end": lambda turn: [turn.cancels(), turn.settles(0)],
    "start after the end": lambda turn: [turn.parks(), turn.starts(1)],
}


class LedgerRules(StoreRules):
    async def test_an_answer_and_the_calls_it_asks_for_are_one_fact(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look", ids=("a", "b"), text="On it."))
            calls = await store.calls(S)
            assert [(call.key, call.id, call.name, call.arguments) for call in calls] == [
                (CallKey(2, 0), "a", "pay", '{"n": 0}'),
                (CallKey(2, 1), "b", "look", '{"n": 1}'),
            ]
            for call in calls:
                assert (call.state, call.attempt, call.started_at, call.result_seq) == ("requested", 0, None, None)
                assert (call.effect, call.schema_hash, call.turn) == (Effect.ONCE, "hash", 1)
            assert len({call.arguments_hash for call in calls}) == 2
            assert len({call.idempotency_key for call in calls}) == 2
            (row,) = await store.turns(S)
            assert (row.state, row.rounds, row.tool_calls) == (TurnState.ACTING, 1, 2)
            assert (await store.session_info(S)).active_messages == 2

    async def test_intent_is_durable_before_effect(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            for reader in (store, other):
                pay, look = await reader.calls(S)
                assert (pay.state, pay.attempt, look.state, look.attempt) == ("started", 1, "requested", 0)
                assert pay.started_at is not None
                assert [call.state for call in await reader.pending(S)] == ["started", "requested"]

    async def test_a_call_that_starts_again_keeps_its_idempotency_key(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look", effect=Effect.IDEMPOTENT), turn.starts(0))
            (first,) = await store.calls(S)
            await turn.record(turn.starts(0))
            (second,) = await store.calls(S)
            assert (first.attempt, second.attempt) == (1, 2)
            assert first.idempotency_key == second.idempotency_key

    async def test_results_stand_in_call_order_however_they_come(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("a", "b", "c"), turn.starts(0, 1, 2))
            await turn.record(turn.settles(2, "third"))
            assert await settled(store) == [("call_0", "started"), ("call_1", "started"), ("call_2", "succeeded")]
            await turn.record(turn.settles(0, "first"))
            await turn.record(turn.settles(1, "second", CallState.FAILED), turn.closes())
            assert await texts(store) == ["user hi", "assistant", "tool first", "tool second", "tool third"]
            assert [call.result_seq for call in await store.calls(S)] == [3, 4, 5]
            await turn.record(turn.answers())
            assert (await texts(store))[-1] == "assistant hello"
            assert (await store.session_info(S)).messages == 6
            assert await store.pending(S) == []

    @pytest.mark.parametrize(
        ("state", "by"),
        [
            (CallState.SUCCEEDED, SettledBy.RUN),
            (CallState.FAILED, SettledBy.RUN),
            (CallState.TIMED_OUT, SettledBy.RUN),
            (CallState.REPORTED, SettledBy.REPORT),
            (CallState.SUCCEEDED, SettledBy.RECONCILE),
        ],
    )
    async def test_a_started_call_settles_and_is_never_moved_again(
        self, open_store: OpenStore, state: CallState, by: SettledBy
    ) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            await turn.record(turn.settles(0, "outcome", state, by))
            settled_call, _ = await store.calls(S)
            assert (settled_call.state, settled_call.settled_by, settled_call.result_seq) == (state, by, 3)
            assert settled_call.settled_at is not None
            async with unchanged(store):
                for again in SETTLED:
                    with pytest.raises(StateError):
                        await turn.record(turn.settles(0, "else", again))
                with pytest.raises(StateError):
                    await turn.record(turn.starts(0))

    async def test_a_gate_settles_a_call_that_never_ran(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("gone"))
            await turn.record(turn.settles(0, "no such tool", CallState.FAILED, SettledBy.GATE), turn.closes())
            (call,) = await store.calls(S)
            assert (call.state, call.settled_by, call.attempt, call.started_at) == ("failed", "gate", 0, None)

    async def test_the_same_provider_id_in_two_answers_is_two_calls(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            for text in ("one", "two"):
                await turn.record(turn.asks("look", ids=["same"]), turn.starts(0))
                await turn.record(turn.settles(0, text), turn.closes())
            await turn.record(turn.answers())
            first, second = await store.calls(S)
            assert (first.id, second.id) == ("same", "same")
            assert first.key != second.key
            assert first.idempotency_key != second.idempotency_key
            assert [text for text in await texts(store) if text.startswith("tool")] == ["tool one", "tool two"]

    @pytest.mark.parametrize("what", ILLEGAL_WHILE_ASKING)
    async def test_an_illegal_move_of_a_turn_that_asks_changes_nothing(self, open_store: OpenStore, what: str) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            async with unchanged(store):
                with pytest.raises(StateError):
                    await turn.record(*ILLEGAL_WHILE_ASKING[what](turn))
            assert (await store.session_info(S)).state is SessionState.RUNNING

    @pytest.mark.parametrize("what", ILLEGAL_WHILE_ACTING)
    async def test_an_illegal_move_of_a_turn_that_acts_changes_nothing(self, open_store: OpenStore, what: str) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            async with unchanged(store):
                with pytest.raises(StateError):
                    await turn.record(*ILLEGAL_WHILE_ACTING[what](turn))
            assert (await store.session_info(S)).state is SessionState.RUNNING

    async def test_after_a_refused_move_the_turn_goes_on(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            with pytest.raises(StateError):
                await turn.record(turn.parks())
            await turn.record(turn.answers())
            assert await texts(store) == ["user hi", "assistant hello"]

    @pytest.mark.parametrize("end", ["answers", "cancels", "fails"])
    async def test_an_ended_turn_takes_no_more_facts(self, open_store: OpenStore, end: str) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(getattr(turn, end)())
            async with unchanged(store):
                for late in (turn.answers(), turn.asks("pay"), turn.cancels(), turn.drops(), turn.folds(1)):
                    with pytest.raises(StateError):
                        await turn.record(late)

    async def test_a_parked_turn_waits_with_its_calls_open(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"), turn.starts(0))
            await turn.record(turn.parks())
            turn.ends()
            (row,) = await store.turns(S)
            assert (row.state, row.status, row.stop_reason) == (
                TurnState.WAITING,
                "pending_tools",
                "a person decides",
            )
            info = await store.session_info(S)
            assert (info.owner, [call.state for call in info.pending]) == (None, ["in_doubt"])
            assert info.needs_attention


def _start(key: CallKey, turn: Driven) -> f.Fact:
    return f.CallsStarted(session=S, turn=turn.claim.turn, calls=(key,))
