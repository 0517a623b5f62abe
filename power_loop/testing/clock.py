"""A clock that stands until it is told to go, ids by count, and a `World` of both: two runs give the same rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from power_loop.values import World

START: Final = datetime(2030, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time that passes by `advance` alone. Safe to use from any thread.

    `now()` is a time of day, which `set` moves anywhere, back too, as a machine's clock can jump. `monotonic()` never
    goes back and knows nothing of `set`: it is the sum of what was advanced, in seconds.
    """

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = _aware(start)
        self._passed = 0.0

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: time does not pass backwards; `set` makes the clock jump.
        """
        if seconds < 0:
            raise ValueError(f"time does not pass backwards ({seconds} s); set() makes the clock jump")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._passed += seconds

    def set(self, to: datetime) -> None:
        """Let the time of day jump, forth or back. `monotonic` stays where it is."""
        with self._lock:
            self._now = _aware(to)


class CountingIds:
    """Ids by count: `id-000001`, `id-000002`, ... Safe to call from any thread.

    Two processes on one store must not give the same ids: let each have a prefix of its own.
    """

    def __init__(self, prefix: str = "id") -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._given = 0

    def __call__(self) -> str:
        with self._lock:
            self._given += 1
            return f"{self._prefix}-{self._given:06}"


def _nobody(point: str) -> None:
    return None


def world(
    clock: ManualClock | None = None,
    ids: CountingIds | None = None,
    *,
    reached: Callable[[str], None] = _nobody,
) -> World:
    """A `World` of a clock by hand and ids by count, new ones where none are given: `StatefulAgentLoop(world=...)`."""
    clock = clock or ManualClock()
    return World(now=clock.now, monotonic=clock.monotonic, new_id=ids or CountingIds(), reached=reached)


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone; say datetime(..., tzinfo=UTC)")
    return at.astimezone(UTC)
