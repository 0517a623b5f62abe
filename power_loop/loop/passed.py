"""What a turn remembers of the points it has passed."""

from __future__ import annotations

from dataclasses import dataclass, field

from power_loop.engine.calls import CallState
from power_loop.hooks import BatchCall, EndedCall
from power_loop.loop.stop import Stop, Stopped
from power_loop.values import CallKey


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that a guard does not let run, and its result."""

    text: str
    state: CallState


@dataclass(slots=True)
class Passed:
    """In memory only: a resume passes again what lies before it."""

    stop: Stop | None = None
    """A guard wants the turn to end once the calls that run have their results."""
    cut: bool = False
    """The turn was stopped while guards looked at a result: no other hook of a result is entered."""
    round: int = 0
    """The round that has begun last."""
    acting: bool = False
    """Calls of a round were taken up, and its end was not passed yet."""
    recalled: int | None = None
    """Up to which message inputs were asked about at `MEMORY_RECALL`; None: nobody has looked yet."""
    dropped: tuple[int, int] = (0, 0)
    """Of which round guards threw answers away, and how many."""
    continued: int = 0
    """How often guards had the turn go on."""
    batch_seq: int = 0
    """The answer whose calls were taken up together."""
    batch: dict[CallKey, BatchCall] = field(default_factory=dict)
    denial: str | None = None
    """Why none of the batch runs."""
    ended: dict[CallKey, EndedCall] = field(default_factory=dict)
    """Of the batch, those that have their results."""
    ruled: dict[CallKey, str | Refused] = field(default_factory=dict)
    """Calls that have passed `CALL_START` before it was asked whether a person must approve them."""
    changed: set[CallKey] = field(default_factory=set)
    """Calls whose arguments guards replaced."""

    def check(self) -> None:
        """Raises `Stopped` if a guard wanted that."""
        if self.stop is not None:
            raise Stopped(self.stop)
