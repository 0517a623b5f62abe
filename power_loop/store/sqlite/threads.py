"""aiosqlite's thread, used for what its public calls do not offer: running a plain function beside the connection.

aiosqlite 0.22 has no public call for either of these three; this is the one file that knows its inside.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")


class SqliteThread:
    """A sqlite3 connection on a thread of its own, which does not keep the interpreter from exiting."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._inside: Any = connection
        self._connection = connection

    @classmethod
    async def start(cls, connect: Callable[[], sqlite3.Connection]) -> SqliteThread:
        """Call `connect` on the new thread; what it raises leaves here."""
        made = cls(aiosqlite.Connection(connect, 64))
        made._thread.daemon = True
        await made._connection
        return made

    @property
    def raw(self) -> sqlite3.Connection:
        raw: sqlite3.Connection = self._inside._conn
        return raw

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function on the thread. Cancelling the caller does not stop it."""
        result: T = await self._inside._execute(function, *arguments)
        return result

    async def aclose(self) -> None:
        await self._connection.close()

    def stop(self) -> None:
        """Close without an event loop, at the exit of the interpreter."""
        self._connection.stop()
        self._thread.join(timeout=5)

    @property
    def _thread(self) -> threading.Thread:
        thread: threading.Thread = self._inside._thread
        return thread
