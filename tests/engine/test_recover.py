"""What becomes of an open call, as a table and as invariants."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.engine.calls import OPEN, CallState
from power_loop.engine.recover import Verdict, recover
from power_loop.engine.snapshot import CallView
from power_loop.values import CallKey, Effect, InDoubt
from tests.engine.kit import call

DOUBT: dict[str, Any] = {"state": CallState.STARTED, "attempt": 1, "in_doubt": True}

TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({}, "report", "run"),
    ({}, "ask", "run"),
    ({"known": False}, "report", "run"),  # the gate refuses it: it never runs
    ({"state": CallState.AWAITING_APPROVAL}, "report", "wait"),
    ({**DOUBT, "host": True}, "report", "wait"),
    ({**DOUBT, "host": True, "known": False}, "ask", "wait"),
    ({"host": True}, "report", "run"),  # it is handed to the host
    ({**DOUBT, "approved": "{}"}, "report", "report"),  # an approval is no word about what became of it
    ({**DOUBT, "effect": Effect.READ}, "report", "run"),
    ({**DOUBT, "effect": Effect.IDEMPOTENT}, "ask", "run"),
    (DOUBT, "report", "report"),
    (DOUBT, "retry", "run"),
    (DOUBT, "ask", "ask"),
    ({**DOUBT, "reconciles": True}, "report", "reconcile"),
    ({**DOUBT, "reconciles": True}, "retry", "reconcile"),
    ({**DOUBT, "reconciles": True}, "ask", "reconcile"),
    ({**DOUBT, "decision": "retry"}, "report", "run"),
    ({**DOUBT, "decision": "retry"}, "ask", "run"),
    ({**DOUBT, "decision": "report"}, "retry", "report"),
    ({**DOUBT, "decision": "report", "effect": Effect.READ}, "report", "report"),
    ({**DOUBT, "decision": "retry", "reconciles": True}, "report", "run"),
    ({**DOUBT, "known": False}, "report", "report"),
    ({**DOUBT, "known": False}, "retry", "report"),
    ({**DOUBT, "known": False}, "ask", "ask"),
    ({**DOUBT, "known": False, "decision": "retry"}, "report", "report"),
    ({**DOUBT, "known": False, "effect": Effect.READ}, "report", "report"),
]


@pytest.mark.acceptance("B2")
@pytest.mark.parametrize(("view", "policy", "verdict"), TABLE)
def test_what_becomes_of_an_open_call(view: dict[str, Any], policy: str, verdict: str) -> None:
    assert recover(call(**view), InDoubt(policy)) is Verdict[verdict.upper()]


@st.composite
def views(draw: st.DrawFn, key: CallKey | None = None) -> CallView:
    """Any open call that a store or a live turn can hold."""
    state = draw(st.sampled_from(sorted(OPEN)))
    started = state is CallState.STARTED
    known = draw(st.booleans())
    return call(
        key or CallKey(3, 0),
        state=state,
        attempt=draw(st.integers(1, 3)) if started else 0,
        in_doubt=started and draw(st.booleans()),
        decision=draw(st.sampled_from([None, "retry", "report"])) if started else None,
        effect=draw(st.sampled_from(list(Effect))),
        known=known,
        parallel=known and draw(st.booleans()),
        reconciles=known and draw(st.booleans()),
        approved=None if state is CallState.AWAITING_APPROVAL else draw(st.sampled_from([None, "{}"])),
        asks=state is CallState.REQUESTED and known and draw(st.integers(0, 3)) == 0,
        host=known and draw(st.integers(0, 3)) == 0,
    )


@pytest.mark.acceptance("B2")
@given(views(), st.sampled_from(list(InDoubt)))
def test_a_once_call_in_doubt_runs_only_where_somebody_says_retry(view: CallView, policy: InDoubt) -> None:
    verdict = recover(view, policy)
    if view.in_doubt and view.effect is Effect.ONCE and verdict is Verdict.RUN:
        assert view.decision == "retry" or (view.decision is None and policy is InDoubt.RETRY)
        assert view.known


@given(views(), st.sampled_from(list(InDoubt)))
def test_only_what_can_be_done_is_said(view: CallView, policy: InDoubt) -> None:
    verdict = recover(view, policy)
    if verdict is Verdict.RECONCILE:
        assert view.in_doubt
        assert view.known
        assert view.reconciles
    if verdict is Verdict.REPORT:
        assert view.in_doubt, "only what was started can be reported as of unknown outcome"
    if verdict is Verdict.ASK:
        assert policy is InDoubt.ASK or view.state is CallState.AWAITING_APPROVAL
