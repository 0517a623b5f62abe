"""Facts into a session store, under the claim of the turn they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from power_loop.engine.facts import Fact, InputSteered, NewMessage, TurnBegan
from power_loop.store.contract import Claim, SessionStore

_COMMITTED: Final = (TurnBegan, InputSteered)
"""What the store committed itself: a claim began the turn, and the inbox gave up its inputs."""


class StoreSink:
    """The sink of one turn: when `record` returns, the facts are on stable storage, together.

    Raises (from `record`):
        EpochLostError: another process took the session over; nothing is recorded.
        StoreError: the store could not; nothing is recorded.
    """

    def __init__(
        self, store: SessionStore, claim: Claim, *, events: int = 0, told: Callable[[int], None] | None = None
    ) -> None:
        """`events`: how many the session has had when the turn began; `told` hears of their number with each commit."""
        self._store = store
        self._claim = claim
        self._events = events
        self._told = told

    async def record(self, facts: Sequence[Fact]) -> None:
        news = [fact for fact in facts if not isinstance(fact, _COMMITTED)]
        if news:
            self._events = await self._store.record(self._claim, news)
        if self._told is not None:
            self._told(self._events)

    async def take_inputs(self) -> tuple[NewMessage, ...]:
        """Make the inputs that steer the turn part of it; their messages. The fact is for `record` to tell."""
        taken = await self._store.take_inputs(self._claim)
        self._events = taken.events
        return taken.messages

    async def aclose(self) -> None:
        """The store belongs to whoever opened it."""
        return
