"""One turn's events to one listener, who may be slow: nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from power_loop.events.live import Event


class Feed:
    """An unbounded queue that ends. The events of one turn are few against what they describe."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def publish(self, event: Event) -> None:
        self._queue.put_nowait(event)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event
