"""One reader of a session's events: what happened since its cursor, then what happens."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Self

from power_loop.errors import (
    EventsLaggedError,
    InputInvalidError,
    LoopClosedError,
    SessionNotFoundError,
    StoreDamagedError,
)
from power_loop.events.hub import Heard, Hub, Subscription
from power_loop.events.live import SessionEvent
from power_loop.store.contract import EventPage, SessionStore
from power_loop.store.replaying import StoredEvent
from power_loop.values import SessionId

PAGE: Final = 100
"""Facts read at once."""

Opened = Callable[[], Awaitable[tuple[SessionStore, Hub]]]


class SessionEvents:
    """An async iterator over the events of one session, in order, each once. `loop.events()` makes it.

    Facts come from the store and nowhere else; a hub only says how far they are. So nothing can be lost or doubled on
    the way, and a reader may be as slow as it likes. Between two facts stand the live events that came between them.

    Where an event cannot be read, asking for the next one raises `StoreDamagedError`, and asking once more goes on
    behind it. Leaving it (or `aclose`) gives back what it holds.
    """

    def __init__(self, opened: Opened, session: SessionId, *, after: int, follow: bool, deltas: bool) -> None:
        self._opened = opened
        self._session = session
        self._cursor = after
        self._follow = follow
        self._deltas = deltas
        self._ready: deque[StoredEvent | Heard] = deque()
        self._read = after
        """The last fact that was read; those behind the cursor are ready."""
        self._up_to = after
        """Facts up to this number come next, before anything live."""
        self._key = 0
        self._store: SessionStore | None = None
        self._subscription: Subscription | None = None
        self._leave: Callable[[], object] = _nothing
        self._ended = False

    @property
    def cursor(self) -> int:
        """The number of the last fact that came out here: `events(..., after=cursor)` goes on behind it."""
        return self._cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionEvent:
        while not self._ready and not self._ended:
            try:
                if self._store is None:
                    await self._begin()
                else:
                    await self._more(self._store)
            except LoopClosedError:
                if self._store is None:
                    raise
                await self.aclose()
        if not self._ready:
            raise StopAsyncIteration
        return self._given(self._ready.popleft())

    async def aclose(self) -> None:
        """Listen no more. What was read before can still be taken out."""
        self._ended = True
        self._leave()

    def _given(self, found: StoredEvent | Heard) -> SessionEvent:
        if isinstance(found, Heard):
            return SessionEvent(session_id=self._session, number=None, at=found.at, event=found.event)
        self._cursor = found.number
        if isinstance(found.fact, StoreDamagedError):
            raise found.fact
        assert found.at is not None
        return SessionEvent(session_id=self._session, number=found.number, at=found.at, event=found.fact)

    async def _begin(self) -> None:
        """Read what there is, then listen: whatever is heard from then on came after that."""
        store, hub = await self._opened()
        page = await store.events(self._session, self._cursor, PAGE)
        if self._cursor > page.last:
            problem = f"is {self._cursor}, and session {self._session!r} has {page.last} events"
            raise InputInvalidError("after", problem, "give the number of an event it has, or 0 for all of them")
        self._store, self._key = store, page.key
        self._take(page)
        if self._follow:
            self._subscription = hub.subscribe(self._session, deltas=self._deltas)
            self._leave = weakref.finalize(self, hub.leave, self._subscription)

    async def _more(self, store: SessionStore) -> None:
        if self._read < self._up_to:
            await self._page(store, min(PAGE, self._up_to - self._read))
            return
        subscription = self._subscription
        if subscription is None:
            await self.aclose()  # all that there was when it began
            return
        found = subscription.next()
        if isinstance(found, Heard):
            self._ready.append(found)
        elif found is not None:
            self._up_to = max(self._up_to, found)
        elif subscription.lagged:
            await self.aclose()
            raise EventsLaggedError(self._session, self._cursor)
        elif subscription.closed:
            await self.aclose()
        elif subscription.news:
            await self._news(store, subscription)
        else:
            await subscription.wait()

    async def _news(self, store: SessionStore, subscription: Subscription) -> None:
        """Read whatever there is. What was heard meanwhile came before some of that, and its marks say before what."""
        subscription.take_news()
        try:
            page = await self._asked(store, PAGE)
        except BaseException:
            subscription.wake()
            raise
        if page is None:
            return
        if len(subscription):
            subscription.wake()
        else:
            self._take(page)

    async def _page(self, store: SessionStore, limit: int) -> None:
        page = await self._asked(store, limit)
        if page is not None:
            self._take(page, self._up_to)

    async def _asked(self, store: SessionStore, limit: int) -> EventPage | None:
        """The next events; None, and the end, if the session is gone, or another has its id."""
        try:
            page = await store.events(self._session, self._read, limit)
        except SessionNotFoundError:
            page = None
        if page is None or page.key != self._key:
            await self.aclose()
            return None
        return page

    def _take(self, page: EventPage, up_to: int | None = None) -> None:
        self._ready.extend(page.events)
        if page.events:
            self._read = page.events[-1].number
        self._up_to = max(self._read, min(page.last, page.last if up_to is None else up_to))


def _nothing() -> None:
    return None
