"""Plain sockets, and what is new committed in a group before anything depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.peers.sockets import Sockets
from bench.peers.sqlite_group import GroupCommit


class SocketsGroup(Sockets):
    title = "plain sockets + raw group commit"
    setting = "WAL, synchronous=FULL, group commit, 4 commits a turn"
    equally_durable = True
    stores = True
    in_process = False

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


PEER = SocketsGroup
