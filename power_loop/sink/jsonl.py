"""Facts as lines of JSON in a file, for people and their scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict

import pydantic_core

from power_loop.engine.facts import Fact
from power_loop.shielding import uncancelled


class JsonlSink:
    """Appends one line a fact: `{"fact": "CallSettled", "session": ..., "turn": ..., ...}`.

    A write is one `write` call of whole lines to a file opened for appending, so lines of several processes do not mix.
    A process that dies leaves whole lines; they are not flushed to the disk one by one: the store is what promises
    that. The file is made with mode 0600.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file: int | None = None

    async def record(self, facts: Sequence[Fact]) -> None:
        lines = b"".join(line(fact) for fact in facts)
        await uncancelled(asyncio.to_thread(self._append, lines))

    async def aclose(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, lines: bytes) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self._file, lines)


def line(fact: Fact) -> bytes:
    """One fact as one line."""
    return pydantic_core.to_json({"fact": type(fact).__name__, **asdict(fact)}) + b"\n"
