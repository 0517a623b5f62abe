"""What a fresh process does about sessions whose owner died: each is taken up by exactly one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from power_loop.engine.calls import OpenCall
from power_loop.errors import (
    InputInvalidError,
    PowerLoopError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionQuarantinedError,
)
from power_loop.stateful_loop.conductor import Conductor
from power_loop.stateful_loop.inputs import one_of
from power_loop.stateful_loop.results import StatefulResult
from power_loop.values import SessionId, World

Way: TypeAlias = Literal["resume", "abort", "report"]
Policy: TypeAlias = Way | Mapping[str, Way]
"""One word for every session; or a word a tool, `"*"` for all others and for sessions without open calls."""

CAUTION: Final[tuple[Way, ...]] = ("resume", "abort", "report")
"""Where the tools of one session's open calls differ, the last of these that one of them asks for."""

AT_ONCE: Final = 32
"""Sessions resumed at a time: a deploy that cut thousands off must not ask for all of them at once."""

SPREAD: Final = 0.02
LONGEST: Final = 5.0
"""Seconds a session more spreads the beginnings over, and at most all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One session that `recover` took up."""

    session_id: SessionId
    action: str
    """`resume`, `abort` or `report`: what was done. `inputs`: nothing was cut off, but inputs of dead senders waited
    and were run. `quarantine`: too many recoveries of it died; it is left alone."""
    pending: tuple[OpenCall, ...] = ()
    """Calls that are open now."""
    result: StatefulResult | None = None
    """How the resumed turn ended; where inputs waited behind it, the last of theirs."""
    error: PowerLoopError | None = None
    """Why it could not be resumed; the session is as that error says."""


class Recovery:
    """One recovery of all sessions that need it."""

    def __init__(self, conductor: Conductor, world: World, policy: Policy, jitter: float | None) -> None:
        self._conductor = conductor
        self._store = conductor.store
        self._world = world
        self._words: Mapping[str, Way] = {"*": policy} if isinstance(policy, str) else policy
        self._jitter = jitter

    async def run(self) -> list[Recovered]:
        """Take up each session once; those that a recovery died over before alone, after the others.

        A session that kills whoever takes it up must not count against those taken up beside it.
        """
        found = dict.fromkeys(await self._store.orphans())
        if self._words.get("*", "report") == "resume":
            found |= dict.fromkeys(await self._store.unattended())
        tries = {session: await self._tries(session) for session in found}
        fresh = [session for session, count in tries.items() if not count]
        suspects = sorted((session for session, count in tries.items() if count), key=tries.__getitem__)
        room = asyncio.Semaphore(AT_ONCE)
        spread = min(LONGEST, SPREAD * (len(fresh) - 1)) if self._jitter is None else self._jitter
        taken = list(await asyncio.gather(*(self._recover(session, room, spread) for session in fresh)))
        taken += [await self._recover(session, room, 0) for session in suspects]
        return [entry for entry in taken if entry is not None]

    async def _tries(self, session: SessionId) -> int:
        try:
            return (await self._store.session_info(session)).recoveries
        except PowerLoopError:
            return 0  # what is wrong with it is told when it is taken up

    async def _recover(self, session: SessionId, room: asyncio.Semaphore, spread: float) -> Recovered | None:
        """What was done about one session; None if another process was faster."""
        if spread > 0:
            await asyncio.sleep(spread * self._world.random())
        async with room:
            way: Way = "report"
            try:
                way = self._way(await self._store.pending(session))
                return await self._take_up(session, way)
            except (SessionArchivedError, SessionClosedError):
                return await self._take_up(session, "report")  # it takes no turn; that it was cut off is written down
            except SessionBusyError:
                return None
            except SessionQuarantinedError as error:
                return await self._told(session, "quarantine", error)
            except PowerLoopError as error:
                return Recovered(session_id=session, action=way, error=error)

    async def _take_up(self, session: SessionId, way: Way) -> Recovered | None:
        if way == "resume":
            taken = await self._conductor.take_up_orphan(session)
            if taken is None:
                return None
            action = way if taken.resumed else "inputs"
            told = await self._told(session, action, taken.failure)
            return replace(told, result=taken.result)
        reason = "its process died" if way == "abort" else None
        if await self._store.interrupt_session(session, abort_reason=reason) is None:
            return None
        return await self._told(session, way)

    async def _told(self, session: SessionId, action: str, error: PowerLoopError | None = None) -> Recovered:
        pending = tuple(await self._store.pending(session))
        return Recovered(session_id=session, action=action, pending=pending, error=error)

    def _way(self, calls: Iterable[OpenCall]) -> Way:
        others = self._words.get("*", "report")
        asked = {self._words.get(call.name, others) for call in calls} or {others}
        return max(asked, key=CAUTION.index)


def checked_policy(given: object) -> Policy:
    """Raises `InputInvalidError` unless it is one of the words, or a mapping of tools' names to them."""
    if not isinstance(given, Mapping):
        return _way_of("policy", given)
    if not all(isinstance(name, str) for name in given):
        raise InputInvalidError("policy", "has a key that is no text", 'use names of tools, and "*" for all others')
    return {name: _way_of(f"policy[{name!r}]", word) for name, word in given.items()}


def _way_of(what: str, given: object) -> Way:
    return CAUTION[CAUTION.index(one_of(what, given, CAUTION))]
