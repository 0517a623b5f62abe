"""Every moment worth dying at: the named crash points, every SQL statement, and every change of a file's name."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

from power_loop.testing.crash.points import CrashPoints, Point

_NAMES: Final = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "open")

# The watch for stop requests looks at the clock: how often it reads is not the same in two runs.
_BY_THE_CLOCK: Final = frozenset({"sql.data_version", "sql.stops_requested", "db.BEGIN", "db.ROLLBACK"})
_OFTEN: Final = 2


class EveryPoint:
    """`reached` for a world, which also hears of statements that have no name, and of files below `folder`.

    For one process that does nothing else: what it hooks stays hooked.
    """

    def __init__(self, points: CrashPoints, folder: Path) -> None:
        self._points = points
        self._folder = str(folder)
        self._here = threading.local()
        sys.addaudithook(self._audit)
        statement = self._statement

        class Traced(sqlite3.Connection):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.set_trace_callback(statement)

        sqlite3.connect = partial(sqlite3.connect, factory=Traced)  # type: ignore[assignment]

    def __call__(self, name: str) -> None:
        self._points(name)
        if name.startswith("sql."):
            self._here.named = True  # the statement that follows on this thread has been counted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NAMES and isinstance(arguments[0], str | bytes | os.PathLike):
            if os.fsdecode(arguments[0]).startswith(self._folder):
                self._points(f"file.{event.removeprefix('os.')}")
        elif event == "fcntl.flock":
            self._points("file.flock")

    def _statement(self, sql: str) -> None:
        if getattr(self._here, "named", False):
            self._here.named = False
        else:
            self._points(f"db.{' '.join(sql.split()[:2]) if sql.startswith('PRAGMA') else sql.split()[0]}")


def to_sweep(passed: list[Point]) -> list[Point]:
    """The points of an untouched run that every other run passes too."""
    return [point for point in passed if point.name not in _BY_THE_CLOCK or point.nth <= _OFTEN]
