"""The floor of durability: one INSERT, one commit a message, in the thread that asks; over HTTP with `post`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench import conversation as c
from bench.peers.openai_post import OpenaiPost
from bench.peers.sqlite_group import connected


class SqliteMessage(OpenaiPost):
    title = "raw sqlite3, a commit a message"
    setting = "WAL, synchronous=FULL, autocommit, 5 commits a turn"
    equally_durable = True
    stores = True
    in_process = True

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        await super().open(folder, url, histories)
        self._db = connected(folder / "raw.db")
        self._written = 0

    def keep(self, session: int, role: str, text: str) -> None:
        self._written += 1
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (session, self._written, role, text))

    async def answered(self, texts: list[str]) -> c.Message:
        if self.client is None:
            await asyncio.sleep(0)  # as any model would let the others run
        return await super().answered(texts)

    async def close(self) -> None:
        await super().close()
        self._db.close()

    @property
    def commits(self) -> int | None:
        return self._written


PEER = SqliteMessage
