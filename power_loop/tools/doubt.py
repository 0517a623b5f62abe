"""What a tool's `reconcile` function can say of a call whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from power_loop.tools.context import ToolContext


@dataclass(frozen=True, slots=True)
class Done:
    """The effect happened; this is the call's result. It is not run again."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class NotDone:
    """The effect did not happen, and cannot any more through the old run: run the call."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell. The call stays in doubt, and the session's policy decides."""

    reason: str


Reconciled: TypeAlias = Done | NotDone | Unknown

Reconcile: TypeAlias = Callable[[ToolContext, dict[str, Any]], Reconciled | Awaitable[Reconciled]]
"""Asked after a crash with the context of the lost run and its validated arguments by name; sync or async."""
