"""One coroutine at a time into a session, in the order they came; other processes are the store's business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from power_loop.errors import SessionBusyError
from power_loop.values import SessionId


class Gates:
    """A lock a session that somebody is in or waits for; nothing for all others."""

    def __init__(self) -> None:
        self._locks: dict[SessionId, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def entered(self, session: SessionId, *, wait: bool) -> AsyncIterator[None]:
        """Inside, nobody else of this loop is in the session.

        Raises:
            SessionBusyError: somebody is, and `wait` is false.
        """
        lock, users = self._locks.get(session, (asyncio.Lock(), 0))
        if lock.locked() and not wait:
            raise SessionBusyError(session, "this process", None)
        self._locks[session] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[session]
            if users == 1:
                del self._locks[session]
            else:
                self._locks[session] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)
