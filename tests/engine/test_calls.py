"""The states of a call: a settled one never moves again, and nothing is skipped."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.engine.calls import NEXT, SETTLED, CallState, check_move, idempotency_key
from power_loop.errors import StateError
from power_loop.values import CallKey, Micros

LEGAL = {
    "requested": {"awaiting_approval", "started", "failed", "denied", "aborted"},
    "awaiting_approval": {"requested", "denied", "aborted"},
    "started": {"started", "succeeded", "failed", "timed_out", "reported", "aborted"},
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(CallState, CallState)))
def test_every_move_of_a_call_is_in_the_table_or_raises(old: CallState, new: CallState) -> None:
    if new in LEGAL.get(old, ()):
        check_move(old, new)
    else:
        with pytest.raises(StateError, match=f"a call that is {old} cannot become {new}"):
            check_move(old, new)


def test_the_table_knows_every_state_and_settled_ones_go_nowhere() -> None:
    assert set(NEXT) == set(CallState)
    assert all(not NEXT[state] for state in SETTLED)


KEYS = st.builds(CallKey, st.integers(1, 99), st.integers(0, 9))
IDS = st.text(alphabet="a/.12", min_size=1, max_size=8)


@given(st.tuples(IDS, KEYS), st.tuples(IDS, KEYS))
def test_idempotency_keys_differ_wherever_the_calls_do(one: tuple[str, CallKey], other: tuple[str, CallKey]) -> None:
    keys = [idempotency_key(session, Micros(7), key) for session, key in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    assert idempotency_key(one[0], Micros(8), one[1]) not in keys  # the same place in a session made again
