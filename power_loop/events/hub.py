"""Who listens to which session, and what has reached them: a loop tells, and waits for nobody."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from power_loop.events.live import LiveEvent
from power_loop.values import SessionId

LOG = logging.getLogger("power_loop.events")

ROOM: Final = 10_000
"""Live events that a subscription holds for a reader who is busy elsewhere."""


class Heard(NamedTuple):
    """A live event, and when it came."""

    event: LiveEvent
    at: datetime


class Subscription:
    """What one reader has yet to read: live events, and between them how far the facts had come by then.

    Facts themselves are read from the store, by their numbers: however many there are, nothing of them is kept here.
    """

    def __init__(self, session: SessionId, *, deltas: bool, room: int = ROOM) -> None:
        self.session = session
        self.deltas = deltas
        self.lagged = False
        """It came to hold more than it may, and holds nothing any more."""
        self.closed = False
        """Nothing more will come."""
        self._room = room
        self._queue: deque[Heard | int] = deque()
        self._news = asyncio.Event()
        self._news.set()  # whatever happened before it was there
        self._something = asyncio.Event()
        self._something.set()

    @property
    def news(self) -> bool:
        """Facts may have come that no mark tells of."""
        return self._news.is_set()

    def take_news(self) -> None:
        self._news.clear()

    def next(self) -> Heard | int | None:
        """The next live event, or the number up to which facts had come by then."""
        return self._queue.popleft() if self._queue else None

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self) -> None:
        """Wait until there is something to look at."""
        self._something.clear()
        if not (self._queue or self.news or self.lagged or self.closed):
            await self._something.wait()

    def hear(self, heard: Heard) -> None:
        if len(self._queue) >= self._room:
            self.lagged = True
            self._queue.clear()
        if not self.lagged:
            self._queue.append(heard)
        self._something.set()

    def mark(self, number: int) -> None:
        """The facts up to that number are committed, before whatever is heard next."""
        if not self.deltas:
            self._news.set()
        elif self._queue and isinstance(self._queue[-1], int):
            self._queue[-1] = max(number, self._queue[-1])
        elif not self.lagged:
            self._queue.append(number)
        self._something.set()

    def wake(self) -> None:
        self._news.set()
        self._something.set()

    def close(self) -> None:
        self.closed = True
        self._something.set()


class Hub:
    """The subscriptions of one loop. Of a session nobody listens to it knows nothing."""

    def __init__(self) -> None:
        self._of: dict[SessionId, list[Subscription]] = {}
        self._closed = False
        self.joined: Callable[[], None] = _nothing
        """Called when somebody begins to listen: whoever sees what other processes commit has to look now."""

    def subscribe(self, session: SessionId, *, deltas: bool, room: int = ROOM) -> Subscription:
        made = Subscription(session, deltas=deltas, room=room)
        if self._closed:
            made.close()
        else:
            self._of.setdefault(session, []).append(made)
            self.joined()
        return made

    def leave(self, subscription: Subscription) -> None:
        """It hears no more; leaving twice does nothing."""
        there = self._of.get(subscription.session, [])
        if subscription in there:
            there.remove(subscription)
        if not there:
            self._of.pop(subscription.session, None)

    def listened(self, session: SessionId) -> bool:
        """Whether anybody wants live events of it."""
        return any(one.deltas for one in self._of.get(session, ()))

    def publish(self, session: SessionId, event: LiveEvent, at: datetime) -> None:
        """Hand a live event to whoever wants it. One who has left too many unread is dropped."""
        for one in tuple(self._of.get(session, ())):
            if one.deltas:
                one.hear(Heard(event, at))
                if one.lagged:
                    LOG.warning("a reader of session %s has left %d live events unread; it is dropped", session, ROOM)
                    self.leave(one)

    def committed(self, session: SessionId, number: int) -> None:
        """The session's facts up to that number are on disk."""
        for one in self._of.get(session, ()):
            one.mark(number)

    def changed(self) -> None:
        """Somebody committed something, in whichever session."""
        for there in self._of.values():
            for one in there:
                one.wake()

    def close(self) -> None:
        """Nothing happens any more."""
        self._closed = True
        for there in self._of.values():
            for one in there:
                one.close()
        self._of.clear()

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))


def _nothing() -> None:
    return None
