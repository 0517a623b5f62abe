"""The next step, over every snapshot there can be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.config import AgentLoopConfig
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.engine.decide import AskApprovals, AskModel, CloseRound, Compact, Park, Rest, RunCalls, Step, decide
from power_loop.engine.limits import Limits
from power_loop.engine.recover import Verdict, recover
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.engine.turns import LIVE, TurnState
from power_loop.values import CallKey, Effect, InDoubt, Status
from tests.engine.kit import MESSAGE, SPENT, STAMP, call, snapshot
from tests.engine.test_recover import views

LIMITS = Limits(max_rounds=3, window=1250, fold_at=1000, fold_to=600)


@pytest.mark.parametrize(
    ("now", "step"),
    [
        (snapshot(TurnState.ASKING), AskModel()),
        (snapshot(TurnState.ASKING, rounds=2), AskModel()),
        (snapshot(TurnState.ASKING, rounds=3), AskModel(wrap_up=True)),
        (snapshot(TurnState.ASKING, rounds=9), AskModel(wrap_up=True)),
        (snapshot(TurnState.ASKING, context_tokens=999), AskModel()),
        (snapshot(TurnState.ASKING, context_tokens=1000), Compact()),
        (snapshot(TurnState.ASKING, context_tokens=1000, rounds=3), Compact()),
        (snapshot(TurnState.ASKING, context_tokens=1000, may_fold=False), AskModel()),
        (snapshot(TurnState.ACTING), CloseRound()),
        *((snapshot(state), Rest()) for state in TurnState if state not in LIVE),
    ],
)
def test_the_step_of_a_turn(now: Snapshot, step: Step) -> None:
    assert decide(now, LIMITS) == step


def keyed(*calls: CallView) -> tuple[CallView, ...]:
    return tuple(replace(view, key=CallKey(3, ordinal), id=f"c{ordinal}") for ordinal, view in enumerate(calls))


PARALLEL, SERIAL = call(parallel=True, effect=Effect.READ), call()


@pytest.mark.acceptance("C3")
@pytest.mark.parametrize(
    ("calls", "batch"),
    [
        ((PARALLEL,), 1),
        ((SERIAL,), 1),
        ((PARALLEL, PARALLEL, PARALLEL), 3),
        ((PARALLEL, PARALLEL, SERIAL, PARALLEL), 2),
        ((SERIAL, PARALLEL, PARALLEL), 1),
        ((SERIAL, SERIAL), 1),
    ],
)
def test_a_call_that_is_not_parallel_is_a_barrier(calls: tuple[CallView, ...], batch: int) -> None:
    given = keyed(*calls)
    step = decide(snapshot(TurnState.ACTING, *given), LIMITS)
    assert step == RunCalls(tuple((view, Verdict.RUN) for view in given[:batch]))


def test_one_undecided_call_parks_the_turn_before_anything_runs() -> None:
    doubtful = call(state=CallState.STARTED, attempt=1, in_doubt=True)
    given = keyed(PARALLEL, doubtful, SERIAL)
    assert decide(snapshot(TurnState.ACTING, *given), replace(LIMITS, in_doubt=InDoubt.ASK)) == Park(
        (given[1],), Status.PENDING_TOOLS
    )


WAITING = call(state=CallState.AWAITING_APPROVAL)
WAITING_PARALLEL = call(state=CallState.AWAITING_APPROVAL, parallel=True, effect=Effect.READ)
HOST = call(host=True, state=CallState.STARTED, attempt=1, parallel=True)
APPROVED = call(approved="{}")


@pytest.mark.acceptance("B8")
@pytest.mark.parametrize(
    ("calls", "batch"),
    [
        # One that runs alone lets none pass before it ...
        ((WAITING, SERIAL), []),
        ((WAITING, PARALLEL), []),
        ((SERIAL, WAITING, PARALLEL), [0]),
        # ... but what a person approved.
        ((WAITING, APPROVED), [1]),
        ((WAITING, PARALLEL, APPROVED, WAITING), [2]),
        # One that may run beside others holds nobody up.
        ((WAITING_PARALLEL, SERIAL), [1]),
        ((HOST, HOST, PARALLEL, PARALLEL), [2, 3]),
        ((HOST,), []),
    ],
)
def test_what_may_run_while_others_wait(calls: tuple[CallView, ...], batch: list[int]) -> None:
    given = keyed(*calls)
    step = decide(snapshot(TurnState.ACTING, *given), LIMITS)
    if batch:
        assert step == RunCalls(tuple((given[at], Verdict.RUN) for at in batch))
    else:
        waiting = tuple(view for view in given if recover(view, InDoubt.REPORT) is Verdict.WAIT)
        status = Status.AWAITING_APPROVAL if given[0].state is CallState.AWAITING_APPROVAL else Status.WAITING_FOR_INPUT
        assert step == Park(waiting, status)


@pytest.mark.acceptance("B8")
def test_approvals_are_asked_for_together_before_anything_runs() -> None:
    asks = call(asks=True)
    given = keyed(PARALLEL, asks, SERIAL, asks)
    assert decide(snapshot(TurnState.ACTING, *given), LIMITS) == AskApprovals((given[1], given[3]))


def test_limits_come_from_the_configuration() -> None:
    config = AgentLoopConfig(max_rounds=7, context_window=1000, max_reply_tokens=200, compact_at=0.5, in_doubt="ask")
    assert Limits.of(config) == Limits(max_rounds=7, window=800, fold_at=400, fold_to=240, in_doubt=InDoubt.ASK)
    assert Limits.of(config, InDoubt.RETRY).in_doubt is InDoubt.RETRY


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    state = draw(st.sampled_from(list(TurnState)))
    count = draw(st.integers(0, 5)) if state is not TurnState.ASKING else 0
    calls = [draw(views(CallKey(3, ordinal))) for ordinal in range(count)]
    return snapshot(
        state,
        *calls,
        rounds=draw(st.integers(0, 5)),
        context_tokens=draw(st.sampled_from([0, 999, 1000, 5000])),
        may_fold=draw(st.booleans()),
    )


@given(snapshots(), st.sampled_from(list(InDoubt)))
def test_what_is_decided_keeps_the_rules(now: Snapshot, policy: InDoubt) -> None:
    limits = replace(LIMITS, in_doubt=policy)
    step = decide(now, limits)
    assert decide(now, limits) == step
    assert isinstance(step, Rest) is (now.state not in LIVE)
    match step:
        case AskModel(wrap_up):
            assert now.state is TurnState.ASKING
            assert not now.calls
            assert wrap_up is (now.rounds >= limits.max_rounds)
        case Compact():
            assert now.state is TurnState.ASKING
            assert now.may_fold
        case CloseRound():
            assert not now.calls
        case AskApprovals(calls):
            assert calls == tuple(view for view in now.calls if view.asks)
        case RunCalls(batch):
            taken = [view for view, _ in batch]
            barriers = [view for view in now.calls if recover(view, policy) is Verdict.WAIT and not view.parallel]
            first = min((view.key for view in barriers), default=CallKey(4, 0))
            free = [view for view in now.calls if view.key < first or view.approved is not None]
            free = [view for view in free if recover(view, policy) is not Verdict.WAIT]
            assert taken == free[: len(taken)], "in the order asked for; nothing that nobody approved passes a barrier"
            assert len(taken) == 1 or all(view.parallel for view in taken)
            assert all(verdict is recover(view, policy) for view, verdict in batch)
            assert not {verdict for _, verdict in batch} & {Verdict.ASK, Verdict.WAIT}
            assert not any(view.asks for view in now.calls)
            assert all(view.state.open for view in taken)
        case Park(undecided, status):
            assert undecided
            verdict = Verdict.ASK if status is Status.PENDING_TOOLS else Verdict.WAIT
            assert all(recover(view, policy) is verdict for view in undecided)
            waits = {view.state for view in undecided}
            assert (status is Status.AWAITING_APPROVAL) == (verdict is Verdict.WAIT and "awaiting_approval" in waits)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(list(Effect))), max_size=6), st.integers(0, 4))
def test_driving_by_the_decisions_settles_every_call_once_and_ends(
    asked: list[tuple[bool, Effect]], max_rounds: int
) -> None:
    """A turn driven as the loop does it, against a model that asks for the same calls whenever it may."""
    limits = replace(LIMITS, max_rounds=max(1, max_rounds))
    now = snapshot(TurnState.ASKING)
    seq, settled, closed = 3, [], 0
    for _ in range(200):
        match decide(now, limits):
            case AskModel(wrap_up) if wrap_up or not asked:
                status = "hit_round_limit" if wrap_up else "completed"
                last = f.AnswerReceived(
                    **STAMP, round=1, message=MESSAGE, model_call=SPENT, status=status, stop_reason="x"
                )
                now = now.after(last)
            case AskModel():
                seq += 10
                now = now.after(f.CallsRequested(**STAMP, round=1, message=MESSAGE, model_call=SPENT, calls=()))
                views = [call(CallKey(seq, n), parallel=p, effect=e) for n, (p, e) in enumerate(asked)]
                now = replace(now, calls=tuple(views))
            case RunCalls(batch):
                keys = tuple(view.key for view, _ in batch)
                now = now.after(f.CallsStarted(**STAMP, calls=keys))
                for key in reversed(keys):
                    done = f.CallSettled(
                        **STAMP, key=key, state=CallState.SUCCEEDED, settled_by=SettledBy.RUN, message=MESSAGE
                    )
                    now = now.after(done)
                    settled.append(key)
            case CloseRound():
                now = now.after(f.RoundClosed(**STAMP, round=1))
                closed += 1
            case Rest():
                break
    assert now.state is TurnState.DONE
    assert len(settled) == len(set(settled)) == len(asked) * closed
    assert now.rounds == (limits.max_rounds if asked else 1)
