"""One turn's events to one listener, who may be slow: nothing waits for it."""

from __future__ import annotations

import asyncio
from typing import Self

from power_loop.events.live import Event


class Feed:
    """An unbounded queue that ends. The events of one turn are few against what they describe."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def publish(self, event: Event) -> None:
        self._queue.put_nowait(event)

    def end(self) -> None:
        self._queue.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event
