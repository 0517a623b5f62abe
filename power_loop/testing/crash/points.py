"""Crash points: count what a process passes, and kill it at one of them.

points = CrashPoints()                                   # run once untouched: points.passed is the list to sweep
points = CrashPoints(kill_at=("sql.commit", 3))          # SIGKILL just before the third commit
loop = StatefulAgentLoop(..., world=World(reached=points))
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import NamedTuple


class Point(NamedTuple):
    """A moment of a run: the n-th time, from 1, that a name is passed, on whatever thread."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name}:{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point that `NAME:N` names, as `str` writes it.

        Raises:
            ValueError: it names none.
        """
        name, _, nth = text.rpartition(":")
        if not name or not nth.isdigit() or int(nth) < 1:
            raise ValueError(f"{text!r} is no point; write NAME:N, as in loop.ask:2")
        return cls(name, int(nth))


class CrashPoints:
    """Hand it to `World(reached=...)`. Safe to call from any thread.

    `how` is the signal this process gets at `kill_at`: SIGKILL, or SIGSTOP for one that hangs and may come back.
    """

    def __init__(self, kill_at: tuple[str, int] | None = None, how: signal.Signals = signal.SIGKILL) -> None:
        self._how = how
        self._kill_at = None if kill_at is None else Point(*kill_at)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.passed: list[Point] = []
        """Every point so far, in order."""

    def __call__(self, name: str) -> None:
        """Pass a point; if it is the one to die at, nothing after it happens."""
        with self._lock:
            self._counts[name] += 1
            point = Point(name, self._counts[name])
            self.passed.append(point)
            if point == self._kill_at:
                os.kill(os.getpid(), self._how)
                if self._how is signal.SIGKILL:
                    signal.pause()  # on another thread than the main one it may arrive a moment later
