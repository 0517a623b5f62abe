"""The small values every layer speaks of, and the only place where the clock and fresh ids come from."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, NewType

import uuid_utils

from power_loop.errors import InputInvalidError

SessionId = NewType("SessionId", str)
Micros = NewType("Micros", int)
"""Microseconds since 1970-01-01 UTC: how times are stored and compared."""

MAX_ID_LENGTH: Final = 200


class Effect(StrEnum):
    """What repeating a tool would do."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


class InputMode(StrEnum):
    """How an input in the inbox is taken in."""

    STEER = "steer"
    """By the turn that runs, at its next round boundary."""
    WAIT = "wait"
    """As a turn of its own."""


class Status(StrEnum):
    """How a turn ended, as its result says it."""

    COMPLETED = "completed"
    HIT_ROUND_LIMIT = "hit_round_limit"
    CANCELLED = "cancelled"
    PENDING_TOOLS = "pending_tools"
    AWAITING_APPROVAL = "awaiting_approval"
    WAITING_FOR_INPUT = "waiting_for_input"
    BUDGET_EXCEEDED = "budget_exceeded"
    STOPPED = "stopped"
    FAILED = "failed"
    """On a stored turn only: `send` raised the model's error."""
    INTERRUPTED = "interrupted"
    """On a stored turn only: its process died."""


class InDoubt(StrEnum):
    """What becomes of a `once` call whose outcome is unknown, when the tool cannot say."""

    REPORT = "report"
    """The model is told that the call may have happened fully, partly or not at all."""
    RETRY = "retry"
    """The call runs again under the same idempotency key."""
    ASK = "ask"
    """The turn waits for a person, who answers through `resolve`."""


class CallKey(NamedTuple):
    """Which call of a session: the assistant message that asks for it, and its place there, from 0."""

    seq: int
    ordinal: int


def _nothing(point: str) -> None:
    return None


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the code takes from outside: time, fresh ids, and who watches it pass its crash points.

    Tests hand in their own. `reached` is called with the name of every crash point and SQL statement just before it
    happens; by default it does nothing.
    """

    now: Callable[[], datetime] = _now
    new_id: Callable[[], str] = _new_id
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    """From 0 up to 1."""
    reached: Callable[[str], None] = _nothing

    def micros(self) -> Micros:
        return to_micros(self.now())


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(at: datetime) -> Micros:
    return Micros((at - _EPOCH) // _MICROSECOND)


def from_micros(at: int) -> datetime:
    return _EPOCH + timedelta(0, 0, at)


_NUL: Final = re.compile("\x00")


def session_id(text: object) -> SessionId:
    """A checked session id: any text of 1 to 200 characters.

    Raises:
        InputInvalidError: it is no text, empty, too long, or cannot be stored.
    """
    if not isinstance(text, str):
        raise InputInvalidError("session_id", f"is a {type(text).__name__}", "a session id is text")
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        raise InputInvalidError("session_id", f"has {len(text)} characters", f"give 1 to {MAX_ID_LENGTH}")
    storable("session_id", text)
    if _NUL.search(text):
        raise InputInvalidError("session_id", "holds a NUL character", "use printable text")
    return SessionId(text)


def storable(what: str, text: str) -> str:
    """The text, if UTF-8 can carry it.

    Raises:
        InputInvalidError: it holds a lone surrogate, which no file and no request can.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputInvalidError(
            what,
            f"holds a lone surrogate at character {error.start}",
            'it is not valid Unicode; clean it with text.encode("utf-8", "replace").decode()',
        ) from None
    return text


def cleaned(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD: for what models and tools say, whom nobody can ask again."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shown(value: object) -> str:
    """A value as an error message shows it: short, and whatever its `repr` does."""
    try:
        text = cleaned(repr(value))
    except Exception:  # noqa: BLE001 - an app's own, or nested too deeply
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:80]}..."


def compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
