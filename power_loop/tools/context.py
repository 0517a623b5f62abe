"""What a tool may know of the call it serves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from power_loop.tools.encode import Json, jsonable


def _unheard(progress: Json) -> None:
    return None


class Cancel:
    """Whether a result is still wanted; set once, by the loop, asked from any thread."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ToolContext:
    """One run of one call, for the function that a parameter annotated `ToolContext` asks for it.

    Whoever builds it hands in `listener`, which is called in the tool's own thread, and keeps `cancel` to set it.
    """

    session_id: str
    call_id: str
    """The id by which the model knows the call."""
    idempotency_key: str
    """The same for every attempt of this call, and for no other call: hand it on to services that take one."""
    attempt: int = 1
    """1 for the first run; more says that an earlier run may have done the work, wholly or partly."""
    listener: Callable[[Json], None] = field(default=_unheard, repr=False)
    cancel: Cancel = field(default_factory=Cancel, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted. A long sync tool asks, and returns: nothing can stop its thread."""
        return self.cancel.is_set()

    def emit(self, progress: object) -> None:
        """Tell whoever listens how it goes: text, or anything `encoded` takes.

        From any thread. Live only: nothing of it is stored, and after a cancellation nothing is passed on. What is
        passed on is a copy, so the tool may go on changing the object. Never raises: a failing listener fails no tool.
        """
        if not self.cancelled:
            with suppress(Exception):
                self.listener(jsonable(progress))
