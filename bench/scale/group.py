"""Raw sqlite3 with one thread that writes: group commit as small as it can be, or one commit a message."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, TypeAlias

Values: TypeAlias = tuple[int, int, str, str]
_Waiting: TypeAlias = tuple[asyncio.Future[None], Values]

SCHEMA: Final = """
CREATE TABLE messages (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    role    TEXT    NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT
"""
INSERT: Final = "INSERT INTO messages (session, seq, role, body) VALUES (?, ?, ?, ?)"


class Group:
    """WAL, synchronous=FULL. Whoever appends hears once the row is on disk. Bound to the event loop it is made in."""

    def __init__(self, path: Path, *, together: bool) -> None:
        """`together`: whatever waits is one transaction, a savepoint a row; else every row is one."""
        self.commits = 0
        self._path = path
        self._together = together
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._write, daemon=True)
        self._thread.start()

    async def append(self, session: int, seq: int, role: str, body: str) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((done, (session, seq, role, body)))
        await done

    async def aclose(self) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _write(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(SCHEMA)
            going = True
            while going:
                batch, going = self._next_batch()
                if batch:
                    self._commit(connection, batch)

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """What waits, and whether more is to come."""
        batch: list[_Waiting] = []
        first = self._queue.get()
        while first is not None:
            batch.append(first)
            if not self._together:
                return batch, True
            try:
                first = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Waiting]) -> None:
        execute = connection.execute
        failure: Exception | None = None
        try:
            execute("BEGIN IMMEDIATE")
            for _, values in batch:
                if self._together:
                    execute("SAVEPOINT change")
                execute(INSERT, values)
                if self._together:
                    execute("RELEASE change")
            execute("COMMIT")
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - whoever waits hears it
            failure = error
        self._loop.call_soon_threadsafe(_answer, batch, failure)


def _answer(batch: Sequence[_Waiting], failure: Exception | None) -> None:
    for done, _ in batch:
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
