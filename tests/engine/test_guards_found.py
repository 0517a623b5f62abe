"""What a removed guard showed to be untested in the pure core."""

from __future__ import annotations

import pytest

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState
from power_loop.engine.decide import RunCalls, TakeInputs, decide
from power_loop.engine.limits import Limits
from power_loop.engine.turns import TurnState
from power_loop.errors import StateError
from power_loop.values import CallKey
from tests.engine.kit import KEY, STAMP, call, snapshot

LIMITS = Limits(max_rounds=9, window=1250, fold_at=1000, fold_to=600)


@pytest.mark.acceptance("B1")
def test_a_call_that_waits_for_an_approval_is_not_started() -> None:
    waiting = snapshot(TurnState.ACTING, call(state=CallState.AWAITING_APPROVAL))
    with pytest.raises(StateError):
        waiting.after(f.CallsStarted(**STAMP, calls=(KEY,)))


@pytest.mark.acceptance("D2")
def test_input_that_waits_is_taken_in_between_rounds_and_not_between_calls() -> None:
    left = (call(), call(CallKey(3, 1)))
    assert isinstance(decide(snapshot(TurnState.ACTING, *left, inputs_wait=True), LIMITS), RunCalls)
    assert isinstance(decide(snapshot(TurnState.ASKING, inputs_wait=True), LIMITS), TakeInputs)
