"""Raw sqlite3 with group commit: one thread, a savepoint a change, each caller answered after the COMMIT."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from bench import conversation as c
from bench.conversation import Message
from bench.peers.sockets import Sockets

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS messages "
    "(session INTEGER, seq INTEGER, role TEXT, body TEXT, PRIMARY KEY (session, seq))"
)


def connected(path: Path) -> sqlite3.Connection:
    """A connection in WAL at FULL, with the one table."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(SCHEMA)
    return db


class GroupCommit:
    """Whatever waits is committed together."""

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self._db = connected(path)
        self._seq = 0
        self._queue: SimpleQueue[tuple[asyncio.Future[None], list[tuple[int, int, str, str]]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._commit_for_ever, daemon=True)
        self._thread.start()

    async def keep(self, session: int, messages: Sequence[Message]) -> None:
        rows = []
        for message in messages:
            self._seq += 1
            rows.append((session, self._seq, message["role"], c.text_of(message)))
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((done, rows))
        await done

    def _commit_for_ever(self) -> None:
        last = False
        while not last:
            waiting: list[Any] = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            last = None in waiting
            waiting = [item for item in waiting if item is not None]
            if waiting:
                self._db.execute("BEGIN IMMEDIATE")
                for _, rows in waiting:
                    self._db.execute("SAVEPOINT change")
                    self._db.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
                    self._db.execute("RELEASE change")
                self._db.execute("COMMIT")
                self.commits += 1
                self._loop.call_soon_threadsafe(_answer, [done for done, _ in waiting])

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._db.close()


def _answer(waiting: Sequence[asyncio.Future[None]]) -> None:
    for done in waiting:
        done.set_result(None)


class SqliteGroup(Sockets):
    title = "raw sqlite3, group commit"
    setting = "WAL, synchronous=FULL, one thread, 4 commits a turn"
    equally_durable = True
    stores = True
    over_http = False

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        await super().open(folder, url, histories)
        self._store = GroupCommit(folder / "group.db")
        self.keep = self._store.keep

    async def close(self) -> None:
        await super().close()
        self._store.close()

    @property
    def commits(self) -> int | None:
        return self._store.commits


PEER = SqliteGroup
