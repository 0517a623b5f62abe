"""What becomes of one open call: the rule that keeps unsafe things from running twice and anything from being skipped.

requested                    -> Run        it never ran
started, read or idempotent  -> Run        again, under the same idempotency key
started, once                -> Reconcile  if its tool can say what happened
                             -> Run        if the policy or a person says retry
                             -> Ask        if the policy says a person decides
                             -> Report     else: the model is told that the outcome is unknown
started, tool gone           -> Report     nobody here can repeat or reconcile it
"""

from __future__ import annotations

from enum import Enum, auto

from power_loop.engine.calls import CallState
from power_loop.engine.snapshot import CallView
from power_loop.values import Effect, InDoubt


class Verdict(Enum):
    RUN = auto()
    RECONCILE = auto()
    REPORT = auto()
    ASK = auto()


def recover(call: CallView, policy: InDoubt) -> Verdict:
    """The one thing to do next with an open call."""
    if call.state is CallState.AWAITING_APPROVAL:
        return Verdict.ASK
    if not call.in_doubt:
        return Verdict.RUN
    if call.decision is not None:
        return Verdict.RUN if call.decision == "retry" and call.known else Verdict.REPORT
    if not call.known:
        return Verdict.ASK if policy is InDoubt.ASK else Verdict.REPORT
    if call.effect is not Effect.ONCE:
        return Verdict.RUN
    if call.reconciles:
        return Verdict.RECONCILE
    return in_doubt(policy)


def in_doubt(policy: InDoubt) -> Verdict:
    """What the policy alone says of a call that nobody can tell about."""
    return {InDoubt.REPORT: Verdict.REPORT, InDoubt.RETRY: Verdict.RUN, InDoubt.ASK: Verdict.ASK}[policy]
