"""aiosqlite's thread, used for what its public calls do not offer: running a plain function beside the connection.

aiosqlite 0.22 has no public call for any of these; this is the one file that knows its inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

from power_loop.errors import LoopClosedError
from power_loop.shielding import uncancelled

T = TypeVar("T")


class SqliteThread:
    """A sqlite3 connection on a thread of its own, which does not keep the interpreter from exiting."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._inside: Any = connection
        self._connection = connection

    @classmethod
    async def start(cls, connect: Callable[[], sqlite3.Connection]) -> SqliteThread:
        """Call `connect` on the new thread; what it raises leaves here. A cancellation waits until that is known."""
        made = cls(aiosqlite.Connection(connect, 64))
        made._thread.daemon = True
        made._thread.start()
        try:
            await uncancelled(made.call(made._connect, connect))
        except BaseException:
            made.stop()
            raise
        return made

    @property
    def raw(self) -> sqlite3.Connection:
        raw: sqlite3.Connection = self._inside._conn
        return raw

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run a function on the thread, after whatever was asked of it before. It runs even if nobody waits any more.

        The future is no task: an event loop that shuts down cancels all tasks, and a commit under way must be heard of.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        results: list[T] = []
        self.post(lambda: results.append(function(*arguments)), lambda failure: _answer(future, results, failure))
        return future

    def post(self, work: Callable[[], None], then: Callable[[BaseException | None], None]) -> None:
        """Run `work` on the thread, after whatever was asked of it before; `then` hears on the loop how it went."""
        if not self._inside._running:
            raise LoopClosedError("the store is closed; open it again")
        loop = asyncio.get_running_loop()
        # The thread keeps what it ran last until there is more to run; it must not keep what that was made of.
        job = [(work, then)]

        def run() -> None:
            work, then = job.pop()
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whoever asked hears it
                failure = error
            with contextlib.suppress(RuntimeError):  # the event loop was closed: nobody is left to tell
                loop.call_soon_threadsafe(then, failure)

        self._inside._tx.put_nowait((None, run))

    async def aclose(self) -> None:
        await self._connection.close()
        self._thread.join(timeout=5)

    def stop(self) -> None:
        """Close without an event loop, at the exit of the interpreter."""
        self._connection.stop()
        if self._thread is not threading.current_thread():  # which may be the one that let the last of us go
            self._thread.join(timeout=5)

    def _connect(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._inside._connection = connect()

    @property
    def _thread(self) -> threading.Thread:
        thread: threading.Thread = self._inside._thread
        return thread


def _answer(future: asyncio.Future[T], results: list[T], failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(results[0])
    else:
        future.set_exception(failure)
