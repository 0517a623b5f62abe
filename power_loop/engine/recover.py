"""What becomes of one open call: the rule that keeps unsafe things from running twice and anything from being skipped.

awaiting approval, or the host's result -> Wait
requested                    -> Run        it never ran
started, read or idempotent  -> Run        again, under the same idempotency key
started, once                -> Reconcile  if its tool can say what happened
                             -> Run        if the policy or a person says retry
                             -> Ask        if the policy says a person decides
                             -> Report     else: the model is told that the outcome is unknown
started, tool gone or changed -> Report    nobody here can repeat or reconcile it

And what counts as getting anywhere: recoveries that get nowhere are limited.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.engine.snapshot import CallView
from power_loop.values import Effect, InDoubt


class Verdict(Enum):
    RUN = auto()
    RECONCILE = auto()
    REPORT = auto()
    ASK = auto()
    WAIT = auto()


def recover(call: CallView, policy: InDoubt) -> Verdict:
    """The one thing to do next with an open call."""
    if call.state is CallState.AWAITING_APPROVAL or (call.host and call.state is CallState.STARTED):
        return Verdict.WAIT
    if not call.in_doubt:
        return Verdict.RUN
    if call.decision is not None:
        return Verdict.RUN if call.decision == "retry" and call.known and not call.changed else Verdict.REPORT
    if not call.known or call.changed:
        return Verdict.ASK if policy is InDoubt.ASK else Verdict.REPORT
    if call.effect is not Effect.ONCE:
        return Verdict.RUN
    if call.reconciles:
        return Verdict.RECONCILE
    return in_doubt(policy)


def in_doubt(policy: InDoubt) -> Verdict:
    """What the policy alone says of a call that nobody can tell about."""
    return {InDoubt.REPORT: Verdict.REPORT, InDoubt.RETRY: Verdict.RUN, InDoubt.ASK: Verdict.ASK}[policy]


_ENDS: Final = (f.AnswerReceived, f.TurnCompleted, f.TurnParked, f.TurnFailed, f.TurnCancelled)


def is_progress(fact: f.Fact) -> bool:
    """Whether a recovery got anywhere: its turn came to an end, or a call gave a result.

    That a call was started, reported as unknown or asked for again is none: that is what a recovery that dies each time
    does each time.
    """
    if isinstance(fact, f.CallSettled):
        return fact.settled_by in (SettledBy.RUN, SettledBy.RECONCILE)
    return isinstance(fact, _ENDS)
