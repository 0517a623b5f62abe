"""Facts as lines of JSON in a file, for people and their scripts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pydantic_core

from power_loop.engine.facts import Fact
from power_loop.errors import LoopClosedError
from power_loop.shielding import uncancelled


class JsonlSink:
    """Appends one line a fact: `{"fact": "CallSettled", "session": ..., "turn": ..., ...}`.

    Of a large result it has what the model was shown, and of the whole text the numbers of characters and bytes:
    `"output": {"characters": 5000000, "data": {"bytes": 41377}}`.

    A write is one `write` call of whole lines to a file opened for appending, so lines of several processes do not mix.
    A process killed inside that call leaves one cut line at most, and the next one begins a new line after it. Nothing
    is flushed to the disk line by line: the store is what promises that. The file is made with mode 0600.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file: int | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def record(self, facts: Sequence[Fact]) -> None:
        lines = b"".join(line(fact) for fact in facts)
        await uncancelled(asyncio.to_thread(self._append, lines))

    async def aclose(self) -> None:
        await uncancelled(asyncio.to_thread(self._close))  # a write that hangs holds the lock

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _append(self, lines: bytes) -> None:
        with self._lock:  # several sessions may record at once, each from a thread of its own
            if self._closed:
                raise LoopClosedError(f"the sink of {self._path} is closed; make another for another loop")
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                if _is_cut(self._file):
                    lines = b"\n" + lines
            left = memoryview(lines)
            while left:  # a file takes all at once, unless the disk is filling up
                left = left[os.write(self._file, left) :]


def _is_cut(file: int) -> bool:
    """Whether whoever wrote last was killed inside a line."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def line(fact: Fact) -> bytes:
    """One fact as one line."""
    return pydantic_core.to_json({"fact": type(fact).__name__, **asdict(fact, dict_factory=_readable)}) + b"\n"


def _readable(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Bytes by their number: they are for the store, and may be megabytes."""
    return {name: {"bytes": len(value)} if isinstance(value, bytes) else value for name, value in fields}
