"""One coroutine at a time into a session, in the order they came; other processes are the store's business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from power_loop.errors import LoopClosedError, SessionBusyError
from power_loop.values import SessionId


class Gates:
    """A lock a session that somebody is in or waits for; nothing for all others. Bound to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._locks: dict[SessionId, tuple[asyncio.Lock, int]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def entered(self, session: SessionId, *, wait: bool) -> AsyncIterator[None]:
        """Inside, nobody else of this loop is in the session.

        Raises:
            SessionBusyError: somebody is, or waits to be, and `wait` is false.
            LoopClosedError: this is another event loop, maybe in a fork of the process: here nobody would ever open the
                gate.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise LoopClosedError(
                "this loop belongs to another event loop, or to the process before its fork; open it anew"
            )
        lock, users = self._locks.get(session, (asyncio.Lock(), 0))
        if users and not wait:
            raise SessionBusyError(session, "this process", None)
        self._locks[session] = (lock, users + 1)
        self._empty.clear()
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[session]
            if users == 1:
                del self._locks[session]
                if not self._locks:
                    self._empty.set()
            else:
                self._locks[session] = (lock, users - 1)

    def occupied(self, session: SessionId) -> bool:
        """Whether somebody of this loop is in the session, or waits to be."""
        return session in self._locks

    async def emptied(self) -> None:
        """Wait until nobody is in any session, or waits to be."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._locks)
