"""Connections to one endpoint that cost the same however many there are.

The client's own pool looks at every connection it holds before each request, idle ones through a system call: with a
hundred sessions that is most of a request. Here each connection is a pool of its own, a *lane*, taken from a stack and
put back when its response is closed. Imports the openai client's transport: loaded when a service is built.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from time import monotonic
from typing import Final

import httpx2

with suppress(ImportError):
    # The transport imports this at its first request: ten milliseconds on the event loop.
    import_module("anyio._backends._asyncio")

KEPT: Final = 5.0
"""Seconds an idle lane is kept, as the client's own pool keeps its connections."""

MOST: Final = 1_000
"""Lanes at once; whoever finds all of them taken waits in one, as long as the client's timeout lets it."""


@dataclass(slots=True, eq=False)
class _Lane:
    transport: httpx2.AsyncBaseTransport
    since: float = 0.0
    """When it was put back."""


class Lanes(httpx2.AsyncBaseTransport):
    """A transport over transports of one connection each. Bound to one event loop, as they are."""

    def __init__(self, new: Callable[[], httpx2.AsyncBaseTransport], *, most: int = MOST, kept: float = KEPT) -> None:
        self._new = new
        self._most, self._kept = most, kept
        self._idle: deque[_Lane] = deque()
        """The one put back last is taken first."""
        self._taken: dict[_Lane, int] = {}
        """By how many; more than one only where there are as many lanes as may be."""
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        lane = self._take()
        try:
            response = await lane.transport.handle_async_request(request)
        except BaseException:
            self._put_back(lane)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Leased(response.stream, lambda: self._put_back(lane))
        return response

    async def aclose(self) -> None:
        lanes = [*self._idle, *self._taken]
        self._idle.clear()
        for lane in lanes:
            await lane.transport.aclose()
        await asyncio.gather(*self._closing)

    def __len__(self) -> int:
        return len(self._idle) + len(self._taken)

    def _take(self) -> _Lane:
        if self._idle:
            lane = self._idle.pop()
        elif len(self._taken) < self._most:
            lane = _Lane(self._new())
        else:
            lane = next(iter(self._taken))  # the one taken longest ago
        self._taken[lane] = self._taken.pop(lane, 0) + 1
        return lane

    def _put_back(self, lane: _Lane) -> None:
        users = self._taken.pop(lane) - 1
        if users:
            self._taken[lane] = users
            return
        lane.since = monotonic()
        self._idle.append(lane)
        while self._idle and self._idle[0].since < lane.since - self._kept:
            closing = asyncio.get_running_loop().create_task(self._idle.popleft().transport.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Leased(httpx2.AsyncByteStream):
    """The body of a response; closing it gives its lane back, once."""

    def __init__(self, stream: httpx2.AsyncByteStream, done: Callable[[], None]) -> None:
        self._stream = stream
        self._done: Callable[[], None] | None = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            done, self._done = self._done, None
            if done is not None:
                done()
