"""The states of a call, as a table: the heart of this project.

                    +-> awaiting_approval -> denied
 requested ---------+          |
     |   ^          |          v approved
     |   +----------+----------+
     v
  started ---> succeeded | failed | timed_out
     |  (the process died, or the turn was cancelled mid-run: the call is *in doubt*)
     +--> started again (retried) | succeeded (reconciled) | reported | succeeded or failed (resolved)
 any open state ---> aborted

`requested` never ran. `started` was durably recorded before its function was entered. The rest is *settled*: it has a
result message and is never run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from power_loop.errors import StateError
from power_loop.values import CallKey, Effect, Micros


class CallState(StrEnum):
    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DENIED = "denied"
    REPORTED = "reported"
    ABORTED = "aborted"

    @property
    def open(self) -> bool:
        return self in OPEN


class SettledBy(StrEnum):
    """Whose word the result of a call is."""

    RUN = "run"
    GATE = "gate"
    """The call was refused before its function: unknown tool, invalid arguments, a guard."""
    RECONCILE = "reconcile"
    REPORT = "report"
    PERSON = "person"
    ABORT = "abort"


class WaitKind(StrEnum):
    """What a call waits for from outside."""

    APPROVAL = "approval"
    RESULT = "result"


class Decision(StrEnum):
    """What was said of a call that waits."""

    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    """An approval nobody gave or refused in time: the call is denied."""
    ANSWERED = "answered"
    """The host gave its result."""


WAITING_FOR_INPUT: Final = "waiting_for_input"
"""How a started call of the host's is shown."""

OPEN: Final = frozenset({CallState.REQUESTED, CallState.AWAITING_APPROVAL, CallState.STARTED})
SETTLED: Final = frozenset(CallState) - OPEN

NEXT: Final[Mapping[CallState, frozenset[CallState]]] = {
    CallState.REQUESTED: frozenset(
        {CallState.AWAITING_APPROVAL, CallState.STARTED, CallState.FAILED, CallState.DENIED, CallState.ABORTED}
    ),
    CallState.AWAITING_APPROVAL: frozenset({CallState.REQUESTED, CallState.DENIED, CallState.ABORTED}),
    CallState.STARTED: frozenset(
        {
            CallState.STARTED,
            CallState.SUCCEEDED,
            CallState.FAILED,
            CallState.TIMED_OUT,
            CallState.REPORTED,
            CallState.ABORTED,
        }
    ),
} | {settled: frozenset() for settled in SETTLED}


def check_move(old: CallState, new: CallState) -> None:
    """Raises `StateError` where the table has no such move."""
    if new not in NEXT[old]:
        raise StateError(f"a call that is {old} cannot become {new}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call without a result, as `get_pending`, `SessionPendingError` and results show it."""

    id: str
    name: str
    arguments: str
    """The JSON text as the model wrote it."""
    state: str
    """`requested`: it never ran. `in_doubt`: it was started and its outcome is unknown. `started`: it runs right now.
    `awaiting_approval`: a person decides. `waiting_for_input`: the host gives its result."""
    since: datetime
    effect: Effect
    attempt: int
    """How often it was started; 0 when never."""
    turn: int
    key: CallKey
    idempotency_key: str
    decision: str | None = None
    """What a person decided about it: `approved` once it may run, or what the next `resume` takes up."""

    @property
    def waits(self) -> bool:
        """Somebody outside has the word."""
        return self.state in (CallState.AWAITING_APPROVAL, WAITING_FOR_INPUT)


def arguments_hash(arguments: str) -> str:
    """16 hex digits of an arguments text: what an approval is bound to."""
    return hashlib.blake2b(arguments.encode(), digest_size=8).hexdigest()


def edited(result: str, arguments: str) -> str:
    """What the model is shown of a call that ran with other arguments than it wrote: a person's, with its result."""
    return f"[A person approved this call with other arguments: {arguments}]\n{result}"


def idempotency_key(session: str, born: Micros, key: CallKey) -> str:
    """The same for every attempt of one call, another for every other call.

    It comes from where the call stands, never from its arguments: models rewrite arguments. `born`, when the session
    was made, tells sessions of the same id apart: one that was deleted and made again, or one in another database.
    """
    return f"{session}@{born:x}/{key.seq}.{key.ordinal}"
