"""The states of a turn, as a table.

    asking  -- an answer is awaited              acting  -- calls are being run
    waiting -- parked: a person or host decides  done    -- answered
    failed  -- the model gave no answer          cancelled, interrupted -- cut off by someone, by death

`asking` and `acting` are *live*: one process owns the session. The others have ended; a later `resume` is a turn of its
own that names the one it goes on from (`origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from power_loop.engine import facts as f
from power_loop.errors import StateError


class TurnState(StrEnum):
    ASKING = "asking"
    ACTING = "acting"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def live(self) -> bool:
        return self in LIVE


class SessionState(StrEnum):
    """What an operator wants to know of a session first."""

    IDLE = "idle"
    RUNNING = "running"
    INTERRUPTED_BEFORE_MODEL = "interrupted_before_model"
    INTERRUPTED_IN_TOOLS = "interrupted_in_tools"
    AWAITING_APPROVAL = "awaiting_approval"
    WAITING_FOR_INPUT = "waiting_for_input"
    STOPPED = "stopped"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    """Its recoveries died too often without progress; a person frees it."""


LIVE: Final = frozenset({TurnState.ASKING, TurnState.ACTING})

NEXT: Final[Mapping[tuple[TurnState, type[f.Fact]], TurnState]] = {
    (TurnState.ASKING, f.AnswerReceived): TurnState.DONE,
    (TurnState.ASKING, f.CallsRequested): TurnState.ACTING,
    (TurnState.ASKING, f.AnswerDropped): TurnState.ASKING,
    (TurnState.ASKING, f.HistoryCompacted): TurnState.ASKING,
    (TurnState.ASKING, f.CompactionFailed): TurnState.ASKING,
    (TurnState.ASKING, f.ContextOverflowed): TurnState.ASKING,
    (TurnState.ASKING, f.InputSteered): TurnState.ASKING,
    (TurnState.ASKING, f.AnswerContinued): TurnState.ASKING,
    (TurnState.ASKING, f.Noted): TurnState.ASKING,
    (TurnState.ASKING, f.RulesRemembered): TurnState.ASKING,
    (TurnState.ASKING, f.TurnCompleted): TurnState.DONE,
    (TurnState.ACTING, f.CallsStarted): TurnState.ACTING,
    (TurnState.ACTING, f.CallSettled): TurnState.ACTING,
    (TurnState.ACTING, f.ApprovalsRequested): TurnState.ACTING,
    (TurnState.ACTING, f.ResultsAwaited): TurnState.ACTING,
    (TurnState.ACTING, f.RulesRemembered): TurnState.ACTING,
    (TurnState.ACTING, f.RoundClosed): TurnState.ASKING,
    (TurnState.ACTING, f.TurnParked): TurnState.WAITING,
    (TurnState.ASKING, f.TurnFailed): TurnState.FAILED,
    (TurnState.ACTING, f.TurnFailed): TurnState.FAILED,
    (TurnState.ASKING, f.TurnCancelled): TurnState.CANCELLED,
    (TurnState.ACTING, f.TurnCancelled): TurnState.CANCELLED,
    (TurnState.ASKING, f.TurnInterrupted): TurnState.INTERRUPTED,
    (TurnState.ACTING, f.TurnInterrupted): TurnState.INTERRUPTED,
    # From outside, once nobody drives the turn: whatever it waited for is given up.
    (TurnState.ASKING, f.CallsAborted): TurnState.CANCELLED,
    (TurnState.ACTING, f.CallsAborted): TurnState.CANCELLED,
    (TurnState.WAITING, f.CallsAborted): TurnState.CANCELLED,
    (TurnState.FAILED, f.CallsAborted): TurnState.CANCELLED,
    (TurnState.CANCELLED, f.CallsAborted): TurnState.CANCELLED,
    (TurnState.INTERRUPTED, f.CallsAborted): TurnState.CANCELLED,
}


def after(state: TurnState, fact: f.Fact) -> TurnState:
    """The state a fact leads to.

    Raises:
        StateError: the table has no such move.
    """
    try:
        return NEXT[state, type(fact)]
    except KeyError:
        raise StateError(f"a turn that is {state} has no move for {type(fact).__name__}") from None


def session_state(
    state: TurnState | None,
    *,
    driven: bool,
    open_calls: bool,
    waits: str | None = None,
    quarantined: bool = False,
) -> SessionState:
    """What a session is, from its last turn, whether somebody alive drives it, and whether calls are open.

    `waits`: the state of an open call that waits for somebody outside, if there is one.
    """
    if quarantined:
        return SessionState.QUARANTINED
    if state is None or state is TurnState.DONE:
        return SessionState.IDLE
    if state.live and driven:
        return SessionState.RUNNING
    if state is TurnState.CANCELLED:
        return SessionState.STOPPED
    if waits is not None:
        return SessionState(waits)
    if open_calls:
        return SessionState.INTERRUPTED_IN_TOOLS
    return SessionState.FAILED if state is TurnState.FAILED else SessionState.INTERRUPTED_BEFORE_MODEL
