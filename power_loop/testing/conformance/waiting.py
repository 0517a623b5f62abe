"""Calls that wait for somebody outside: approvals and results of the host; and what rules say and remember."""

from __future__ import annotations

import pytest

from power_loop.engine import facts as f
from power_loop.engine.calls import arguments_hash
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import (
    ApprovalChangedError,
    ApprovalDecidedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CallSettledError,
    EpochLostError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    StateError,
)
from power_loop.store.contract import HostResult, Known, Said, SessionStore
from power_loop.testing.conformance.base import StoreRules
from power_loop.testing.conformance.kit import (
    Driven,
    OpenStore,
    S,
    answered,
    begun,
    made,
    opened,
    resumed,
    settled,
    texts,
    unchanged,
)
from power_loop.values import SessionId

YES, NO = Said(approved=True, by="ann"), Said(approved=False, by="bob", reason="not today")
LONG_AGO, NEVER_SO_LATE = 1_000_000, 4_000_000_000_000_000
"""Times, in microseconds since 1970."""


async def parked(store: SessionStore, *, hosts: bool = False, expires_at: int | None = None) -> Driven:
    """A turn that ended with three calls that wait: for approvals, or for results of the host."""
    await made(store)
    turn = await begun(store)
    asked = turn.asks("pay", "pay", "pay")
    waits = turn.hands(0, 1, 2) if hosts else turn.waits(0, 1, 2, expires_at=expires_at)
    await turn.record(asked, waits, turn.parks("waiting_for_input" if hosts else "awaiting_approval"))
    turn.ends()
    return turn


async def undecided(store: SessionStore) -> list[str]:
    return [wait.call_id for wait in await store.waits(None, decided=False)]


async def going_on(store: SessionStore) -> list[tuple[str, str, str | None]]:
    """The calls that a resumed turn has to take up: id, state, the arguments that were approved."""
    got = await resumed(store)
    calls = [
        (one.id, str(one.state), None if one.approval is None else one.approval.approved) for one in got.begun.calls
    ]
    await got.record(got.parks("awaiting_approval") if calls else got.answers("on"))
    got.ends()
    return calls


class WaitingRules(StoreRules):
    async def test_what_waits_is_listed_with_what_it_is_bound_to(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await parked(store, expires_at=NEVER_SO_LATE)
            assert await settled(store) == [(f"call_{n}", "awaiting_approval") for n in range(3)]
            info = await other.session_info(S)
            assert (info.state, info.owner) == (SessionState.AWAITING_APPROVAL, None)
            for of in (S, None):
                waits = await other.waits(of, decided=False)
                assert [(w.session_id, w.call_id, w.kind, w.arguments, w.reason) for w in waits] == [
                    (S, f"call_{n}", "approval", f'{{"n": {n}}}', f"reason {n}") for n in range(3)
                ]
            assert all(wait.arguments_hash == arguments_hash(wait.arguments) for wait in waits)
            assert all(wait.expires_at is not None and wait.decision is None for wait in waits)
            assert await other.waits(S, decided=True) == waits

    async def test_a_call_that_waits_neither_starts_nor_settles(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"), turn.waits(0))
            async with unchanged(store):
                for illegal in (turn.starts(0), turn.settles(0), turn.waits(0), turn.hands(0), turn.closes()):
                    with pytest.raises(StateError):
                        await turn.record(illegal)

    async def test_what_waits_is_asked_about_once_and_only_by_the_driver(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "look"), turn.starts(0))
            async with unchanged(store):
                with pytest.raises(StateError):
                    await turn.record(turn.waits(0))
            await turn.record(turn.cancels())
            turn.ends()
            await resumed(store)
            async with unchanged(store):
                with pytest.raises(EpochLostError):
                    await turn.record(turn.waits(1))

    async def test_an_approved_call_may_run_with_what_was_approved(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await parked(store)
            done = await other.decide_approval(S, "call_1", YES)
            assert (done.decision, done.decided_by, done.approved) == ("approved", "ann", '{"n": 1}')
            edited = Said(approved=True, arguments='{"n":9}')
            assert (await other.decide_approval(S, "call_2", edited)).approved == '{"n":9}'
            assert await undecided(store) == ["call_0"]
            assert await going_on(store) == [
                ("call_0", "awaiting_approval", None),
                ("call_1", "requested", '{"n": 1}'),
                ("call_2", "requested", '{"n":9}'),
            ]
            assert [call.arguments for call in await store.calls(S)] == [f'{{"n": {n}}}' for n in range(3)]

    async def test_a_denied_call_has_its_result_and_never_runs(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            await store.decide_approval(S, "call_1", NO)
            assert [call.id for call in await store.pending(S)] == ["call_0", "call_2"]
            assert await settled(store) == [
                ("call_0", "awaiting_approval"), ("call_1", "denied"), ("call_2", "awaiting_approval"),
            ]  # fmt: skip
            (told,) = (await texts(store))[2:]
            assert "bob" in told
            assert "not today" in told
            turn = await resumed(store)
            with pytest.raises(StateError):
                await turn.record(
                    f.CallsStarted(session=S, turn=turn.claim.turn, calls=(turn.keys[0]._replace(ordinal=1),))
                )

    async def test_the_first_decision_stands_and_the_same_again_changes_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await parked(store)
            first = await store.decide_approval(S, "call_0", YES)
            second = await store.decide_approval(S, "call_1", NO)
            async with unchanged(store):
                assert await other.decide_approval(S, "call_0", Said(approved=True, by="ben")) == first
                assert await other.decide_approval(S, "call_1", Said(approved=False)) == second
                for call, said in (
                    ("call_0", NO),
                    ("call_0", Said(approved=True, arguments="{}")),
                    ("call_1", YES),
                ):
                    with pytest.raises(ApprovalDecidedError):
                        await other.decide_approval(S, call, said)

    async def test_a_decision_is_about_what_was_seen(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            seen = (await store.waits(S, decided=False))[0].arguments_hash
            wrong = Said(approved=True, seen="0" * 16)
            async with unchanged(store):
                with pytest.raises(ApprovalChangedError):
                    await store.decide_approval(S, "call_0", wrong)
            await store.decide_approval(S, "call_0", Said(approved=True, seen=seen))
            async with unchanged(store):
                with pytest.raises(ApprovalChangedError):
                    await store.decide_approval(S, "call_0", wrong)

    async def test_what_expired_is_denied_by_the_next_turn_and_approved_by_nobody(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store, expires_at=LONG_AGO)
            async with unchanged(store):
                for said in (YES, NO):
                    with pytest.raises(ApprovalExpiredError):
                        await store.decide_approval(S, "call_0", said)
            assert await going_on(store) == []
            assert await settled(store) == [(f"call_{n}", "denied") for n in range(3)]
            assert [wait.decision for wait in await store.waits(S, decided=True)] == ["expired"] * 3
            assert await undecided(store) == []

    async def test_bad_decisions_change_nothing(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            async with unchanged(store):
                for call, error in (("call_9", CallNotFoundError),):
                    with pytest.raises(error):
                        await store.decide_approval(S, call, YES)
                    with pytest.raises(error):
                        await store.submit_results(S, {call: HostResult(content="x")})
                with pytest.raises(CallSettledError):
                    await store.submit_results(S, {"call_0": HostResult(content="x")})
                with pytest.raises(SessionNotFoundError):
                    await store.decide_approval(SessionId("nobody"), "call_0", YES)
            await store.abort_pending(S, "enough")
            assert await undecided(store) == []
            async with unchanged(store):
                with pytest.raises(CallSettledError):
                    await store.decide_approval(S, "call_0", YES)
            await store.close_session(S, False)
            async with unchanged(store):
                with pytest.raises(SessionClosedError):
                    await store.decide_approval(S, "call_0", YES)

    async def test_a_spent_approval_is_for_no_other_call_of_its_id(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            for call in range(3):
                await store.decide_approval(S, f"call_{call}", YES)
            turn = await resumed(store)
            await turn.record(turn.starts(0, 1, 2), *(turn.settles(n) for n in range(3)), turn.closes())
            async with unchanged(store):
                with pytest.raises(CallSettledError):
                    await store.decide_approval(S, "call_0", YES)
            await turn.record(turn.asks("pay"), turn.waits(0), turn.parks("awaiting_approval"))
            turn.ends()
            assert await undecided(store) == ["call_0"]
            got = await store.resume_turn(S, {})
            assert isinstance(got, Known), "a new call of an old id waits for a decision of its own"

    async def test_nothing_said_is_nothing_to_go_on_with(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            async with unchanged(store):
                for _ in range(2):
                    got = await store.resume_turn(S, {})
                    assert isinstance(got, Known)
                    assert got.turn is not None
                    assert (got.turn.number, got.turn.state) == (1, TurnState.WAITING)

    async def test_decided_while_a_turn_runs_it_is_taken_up_by_the_next(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay", "ask", "look"), turn.waits(0), turn.hands(1), turn.starts(2))
            await other.decide_approval(S, "call_0", NO)
            await other.submit_results(S, {"call_1": HostResult(content="the answer")})
            assert await settled(store) == [
                ("call_0", "awaiting_approval"),
                ("call_1", "started"),
                ("call_2", "started"),
            ]
            assert await undecided(store) == []
            await turn.record(turn.settles(2), turn.parks("awaiting_approval"))
            turn.ends()
            assert await going_on(store) == []
            assert await settled(store) == [("call_0", "denied"), ("call_1", "succeeded"), ("call_2", "succeeded")]

    async def test_a_decision_leaves_a_turn_that_was_cut_off_to_whoever_recovers(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(other)
            await turn.record(turn.asks("pay", "look"), turn.waits(0), turn.starts(1))
            await self.abandon(other)
            await store.decide_approval(S, "call_0", YES)
            assert await store.orphans() == [S]
            again = await resumed(store, only_orphan=True)
            states = [(call.id, str(call.state)) for call in again.begun.calls]
            assert states == [("call_0", "requested"), ("call_1", "started")]

    async def test_a_decision_outdates_what_others_remember(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            before = (await store.history(S)).epoch
            await store.decide_approval(S, "call_0", NO)
            assert (await store.history(S)).epoch > before

    async def test_the_host_answers_once_all_or_none(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await parked(store, hosts=True)
            assert (await store.session_info(S)).state is SessionState.WAITING_FOR_INPUT
            assert [call.state for call in await store.pending(S)] == ["waiting_for_input"] * 3
            answer = HostResult(content="the answer")
            async with unchanged(store):
                for wrong in ({"call_0": answer, "call_9": answer},):
                    with pytest.raises(CallNotFoundError):
                        await store.submit_results(S, wrong)
                with pytest.raises(CallSettledError):
                    await store.decide_approval(S, "call_0", YES)
            await other.submit_results(S, {"call_0": answer, "call_2": HostResult(content="no", failed=True)})
            assert await settled(store) == [("call_0", "succeeded"), ("call_1", "started"), ("call_2", "failed")]
            assert (await texts(store))[2:] == ["tool the answer", "tool no"]
            async with unchanged(store):
                await other.submit_results(S, {"call_0": answer})
                for late in ({"call_0": HostResult(content="other")}, {"call_1": answer, "call_2": answer}):
                    with pytest.raises(CallSettledError):
                        await store.submit_results(S, late)
            assert await undecided(store) == ["call_1"]

    async def test_a_long_result_of_the_host_is_shown_in_short_and_kept_whole(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            turn = await parked(store, hosts=True)
            whole = "g\u00f6 " * 40_000
            await store.submit_results(S, {"call_1": HostResult(content=whole, part="g\u00f6 ...")})
            (shown,) = (await texts(store))[2:]
            assert shown.startswith("tool g\u00f6 ...\n[Result ")
            assert await store.output(S, turn.handle(1)) == whole
            (wait,) = [one for one in await store.waits(S, decided=True) if one.decision is not None]
            assert (wait.said, wait.failed) == (whole, False)

    async def test_a_call_may_wait_for_an_approval_and_then_for_the_host(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store)
            for call in range(3):
                await store.decide_approval(S, f"call_{call}", Said(approved=True, arguments=f'{{"n":{call}}}'))
            turn = await resumed(store)
            await turn.record(turn.hands(0, 1, 2), turn.parks("waiting_for_input"))
            turn.ends()
            kinds = [(str(wait.kind), wait.decision) for wait in await store.waits(S, decided=True)]
            assert kinds == [("approval", "approved"), ("result", None)] * 3
            await store.submit_results(S, {f"call_{n}": HostResult(content=f"got {n}") for n in range(3)})
            found = (await texts(store))[2:]
            assert [text.partition("\n")[2] for text in found] == ["got 0", "got 1", "got 2"]
            assert all(f'{{"n":{n}}}' in text for n, text in enumerate(found)), "the model is told what it was asked"

    async def test_resolving_is_for_calls_in_doubt_and_not_for_those_that_wait(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await parked(store, hosts=True)
            async with unchanged(store):
                with pytest.raises(CallSettledError):
                    await store.resume_turn(S, {"call_0": "retry"})

    async def test_a_living_driver_of_a_session_is_not_in_the_way_of_a_decision(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("pay"), turn.waits(0))
            async with unchanged(store):
                with pytest.raises(SessionBusyError):
                    await other.abort_pending(S, "no")
            await other.decide_approval(S, "call_0", YES)
            await turn.record(turn.parks("awaiting_approval"))


class RemarkRules(StoreRules):
    """What rules of the loop say to the model and remember."""

    async def test_a_note_is_a_message_of_the_turn(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.notes("look again"))
            await turn.record(turn.answers("I did"))
            assert await texts(store) == ["user hi", "user look again", "assistant I did"]
            info = await store.session_info(S)
            assert (info.active_messages, info.messages) == (3, 3)
            assert len(await store.usage(S, None)) == 1

    async def test_an_answer_that_is_not_the_last_stands_with_its_note(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.continues())
            assert await texts(store) == ["user hi", "assistant I am done", "user you are not"]
            assert (await store.turns(S))[0].state is TurnState.ASKING
            await turn.record(turn.answers("now I am"))
            (row,) = await store.turns(S)
            assert (row.state, row.rounds) == (TurnState.DONE, 2)
            assert [one.number for one in await store.usage(S, None)] == [1, 2]

    async def test_what_rules_remember_is_committed_with_what_they_saw(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store, opened(open_store) as other:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("look"), turn.starts(0), turn.remembers(steps='"one"', repeats="[1]"))
            assert await other.memories(S) == {"steps": '"one"', "repeats": "[1]"}
            await turn.record(turn.settles(0), turn.remembers(steps='"two"'), turn.closes())
            assert await other.memories(S) == {"steps": '"two"', "repeats": "[1]"}
            async with unchanged(store):
                with pytest.raises(StateError):
                    await turn.record(turn.remembers(steps='"three"'), turn.settles(0))
            await turn.record(turn.cancels())
            turn.ends()
            await resumed(store)
            async with unchanged(store):
                with pytest.raises(EpochLostError):
                    await turn.record(turn.remembers(steps='"late"'))
            with pytest.raises(SessionNotFoundError):
                await store.memories(SessionId("nobody"))

    async def test_a_turn_may_end_with_a_call(self, open_store: OpenStore) -> None:
        async with opened(open_store) as store:
            await made(store)
            turn = await begun(store)
            await turn.record(turn.asks("complete"), turn.starts(0))
            async with unchanged(store):
                with pytest.raises(StateError):
                    await turn.record(turn.completes(2))  # its calls are not answered
            await turn.record(turn.settles(0), turn.closes(), turn.completes(2))
            turn.ends()
            (row,) = await store.turns(S)
            assert (row.state, row.status, row.answer_seq, row.stop_reason) == (
                TurnState.DONE, "completed", 2, "complete was called",
            )  # fmt: skip
            await answered(store, "next")
