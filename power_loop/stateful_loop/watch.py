"""Hearing that a running turn should stop or take input in: from the app, or from another process through the store.

And that anything was committed, for those who listen to a session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from power_loop.errors import PowerLoopError
from power_loop.events import Hub
from power_loop.loop.stop import StopSignal
from power_loop.store.contract import Claim, SessionStore
from power_loop.values import SessionId, Status

LOG = logging.getLogger("power_loop.watch")

TICK: Final = 0.03
"""Seconds between looks. A turn hears of a stop within this and a read of the store."""


class StopEvent(Protocol):
    """`asyncio.Event`, `threading.Event`, `anyio.Event`: anything that can be asked whether it is set."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Watched:
    stop: StopSignal
    event: StopEvent | None


class Watch:
    """One look a tick for all running turns of a loop and all who listen; none while there are neither."""

    def __init__(self, store: SessionStore, input_waits: Callable[[SessionId], None], hub: Hub) -> None:
        self._store = store
        self._input_waits = input_waits
        self._hub = hub
        hub.joined = self._look_out
        self._turns: dict[tuple[SessionId, int], _Watched] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._version = -1
        self._ended = False

    def add(self, claim: Claim, stop: StopSignal, event: StopEvent | None) -> None:
        watched = _Watched(stop, event)
        _hear(watched)
        self._turns[claim.session, claim.epoch] = watched
        self._version = -1  # a request may have come since the claim, and been read when nobody here was concerned
        # A short turn never asks: the claim cleared old requests, and a later one is heard within a tick.
        self._look_out()

    def remove(self, claim: Claim) -> None:
        """The timer stays wound: the next turn of many in a row needs no new one."""
        self._turns.pop((claim.session, claim.epoch), None)
        if not self._wanted and self._task is not None:
            self._task.cancel()  # nobody is left to look for

    def end(self) -> None:
        """Look no more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    @property
    def _wanted(self) -> bool:
        return bool(self._turns) or len(self._hub) > 0

    def _look_out(self) -> None:
        if self._timer is None and self._task is None and not self._ended:
            self._wind()

    def _wind(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._wanted:
            self._task = asyncio.get_running_loop().create_task(self._look(), name="power_loop.watch")
            self._task.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self._wanted and not self._ended:
            self._wind()

    async def _look(self) -> None:
        for watched in self._turns.values():
            _hear(watched)
        try:
            await self._ask_store()
        except PowerLoopError as error:
            # A store that cannot be read now is the turn's to find out; the stop event must still be heard.
            LOG.warning("requests to stop cannot be read: %s", error)

    async def _ask_store(self) -> None:
        version = await self._store.changed()
        if version == self._version:
            return
        self._version = version
        self._hub.changed()
        if not self._turns:
            return
        try:
            wanted = await self._store.stops_requested()
            steered = await self._store.steered()
        except PowerLoopError:
            self._version = -1
            raise
        for session in steered:
            self._input_waits(session)
        for session, epoch, reason in wanted:
            watched = self._turns.get((session, epoch))
            if watched is not None:
                watched.stop.request(Status.STOPPED, reason)


def _hear(watched: _Watched) -> None:
    try:
        wanted = watched.event is not None and watched.event.is_set()
    except Exception:  # an event of the app's; the other turns must still be stoppable
        LOG.exception("the stop event %r cannot be asked", watched.event)
        return
    if wanted:
        watched.stop.request(Status.STOPPED, "the stop event was set")
