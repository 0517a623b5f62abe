"""Facts into a session store, under the claim of the turn they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from power_loop.engine.facts import Fact, InputSteered, TurnBegan
from power_loop.store.contract import Claim, SessionStore

_COMMITTED: Final = (TurnBegan, InputSteered)
"""What the store committed itself: a claim began the turn, and the inbox gave up its inputs."""


class StoreSink:
    """The sink of one turn: when `record` returns, the facts are on stable storage, together.

    Raises (from `record`):
        EpochLostError: another process took the session over; nothing is recorded.
        StoreError: the store could not; nothing is recorded.
    """

    def __init__(self, store: SessionStore, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    async def record(self, facts: Sequence[Fact]) -> None:
        news = [fact for fact in facts if not isinstance(fact, _COMMITTED)]
        if news:
            await self._store.record(self._claim, news)

    async def aclose(self) -> None:
        """The store belongs to whoever opened it."""
        return
