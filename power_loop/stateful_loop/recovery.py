"""What a fresh process does about sessions whose owner died: each is taken up by exactly one."""

from __future__ import annotations

from dataclasses import dataclass

from power_loop.engine.calls import OpenCall
from power_loop.errors import PowerLoopError
from power_loop.stateful_loop.results import StatefulResult
from power_loop.values import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One session that `recover` took up."""

    session_id: SessionId
    action: str
    """`resume`, `abort` or `report`: what was done."""
    pending: tuple[OpenCall, ...] = ()
    """Calls that are open now."""
    result: StatefulResult | None = None
    """How the resumed turn ended."""
    error: PowerLoopError | None = None
    """Why it could not be resumed; the session is as that error says."""
