"""Whose turn it is: claims sessions in order, goes on where turns were cut off, takes up what died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from power_loop.config import AgentLoopConfig
from power_loop.engine.limits import Limits
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import (
    LoopClosedError,
    PowerLoopError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionPendingError,
)
from power_loop.shielding import uncancelled
from power_loop.stateful_loop.gates import Gates
from power_loop.stateful_loop.recovery import Recovered
from power_loop.stateful_loop.results import StatefulResult
from power_loop.stateful_loop.runner import Listener, Runner
from power_loop.stateful_loop.watch import StopEvent
from power_loop.store.contract import Begun, Input, Known, SessionStore
from power_loop.values import InDoubt, SessionId, Status

OnPending = Literal["raise", "resume", "abort"]
IfBusy = Literal["wait", "raise"]

BUSY_POLL: Final = 0.05
"""Seconds between looks at a session that another process drives."""

RECOVERED_AT_ONCE: Final = 32
"""Sessions that `recover` resumes at a time: a deploy that cut thousands off must not ask for all of them at once."""

ABORTED: Final = "given up for a new message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a turn is to be run."""

    if_busy: IfBusy = "wait"
    in_doubt: InDoubt | None = None
    stop_event: StopEvent | None = None
    listener: Listener | None = None
    force: bool = False
    """Take the session even from a living owner of another process."""


class Conductor:
    """The turns of one loop over one open store."""

    def __init__(self, store: SessionStore, runner: Runner, config: AgentLoopConfig) -> None:
        self.store = store
        self.runner = runner
        self._config = config
        self._gates = Gates()
        self._closing = False

    async def send(self, wanted: Input, on_pending: OnPending, manner: Manner) -> StatefulResult:
        """A turn on a new input; or, if its request is stored already, its outcome or the rest of it."""
        if on_pending == "abort":
            wanted = replace(wanted, abort_reason=ABORTED)
        async with self._entered(wanted.session, manner):
            begun = await self._claimed(wanted.session, lambda: self.store.begin_turn(wanted), manner, on_pending)
            if isinstance(begun, StatefulResult):
                return begun
            if isinstance(begun, Known) and begun.turn is not None and begun.turn.state is not TurnState.DONE:
                if on_pending == "abort":
                    await self.store.abort_pending(wanted.session, ABORTED)
                begun = await self._claimed(wanted.session, lambda: self.store.resume_turn(wanted.session, {}), manner)
                assert not isinstance(begun, StatefulResult)
                return await self._finish(begun, manner, idle="idle")
            return await self._finish(begun, manner)

    async def resume(self, session: SessionId, decisions: Mapping[str, str], manner: Manner) -> StatefulResult:
        async with self._entered(session, manner):
            begun = await self._claimed(
                session, lambda: self.store.resume_turn(session, decisions, force=manner.force), manner
            )
            assert not isinstance(begun, StatefulResult)
            return await self._finish(begun, manner, idle="idle")

    async def recover(self, policy: str) -> list[Recovered]:
        room = asyncio.Semaphore(RECOVERED_AT_ONCE)
        taken = await asyncio.gather(*(self._recover(session, policy, room) for session in await self.store.orphans()))
        return [entry for entry in taken if entry is not None]

    async def _recover(self, session: SessionId, policy: str, room: asyncio.Semaphore) -> Recovered | None:
        """What was done about one orphan; None if another process was faster."""
        async with room:
            try:
                return await self._take_up(session, policy)
            except (SessionArchivedError, SessionClosedError):
                return await self._take_up(session, "report")  # it takes no turn; that it was cut off is written down

    async def _take_up(self, session: SessionId, policy: str) -> Recovered | None:
        try:
            if policy == "resume":
                async with self._entered(session, Manner(if_busy="raise")):
                    self._check_open()
                    begun = await self.store.resume_turn(session, {}, only_orphan=True)
                    if isinstance(begun, Known):
                        return None
                    result = await self._finish(begun, Manner())
                return Recovered(session_id=session, action=policy, pending=result.pending_tool_calls, result=result)
            reason = "its process died" if policy == "abort" else None
            if await self.store.interrupt_session(session, abort_reason=reason) is None:
                return None
            return Recovered(session_id=session, action=policy, pending=tuple(await self.store.pending(session)))
        except SessionBusyError:
            return None
        except (SessionArchivedError, SessionClosedError):
            raise
        except PowerLoopError as error:
            return Recovered(session_id=session, action=policy, error=error)

    async def _claimed(
        self,
        session: SessionId,
        claim: Callable[[], Awaitable[Begun | Known]],
        manner: Manner,
        on_pending: OnPending = "raise",
    ) -> Begun | Known | StatefulResult:
        """Claim a session once nobody drives it and nothing is open; or, if resuming that was stopped, its result."""
        while True:
            self._check_open()
            try:
                return await claim()
            except SessionBusyError:
                if manner.if_busy == "raise":
                    raise
                await self._until_free(session)
            except SessionPendingError:
                if on_pending != "resume":
                    raise
                on_pending = "raise"  # what is still open after one resume needs a person
                begun = await self._claimed(session, lambda: self.store.resume_turn(session, {}), manner)
                assert not isinstance(begun, StatefulResult)
                result = await self._finish(begun, manner)
                if result.status in (Status.STOPPED, Status.CANCELLED):
                    return result

    async def _until_free(self, session: SessionId) -> None:
        """Wait while another process drives a session: by reading only, so that nobody's commit has to wait for us."""
        while (await self.store.session_info(session)).state is SessionState.RUNNING:
            self._check_open()
            await asyncio.sleep(BUSY_POLL)

    async def _finish(self, begun: Begun | Known, manner: Manner, *, idle: str | None = None) -> StatefulResult:
        if isinstance(begun, Known):
            return await self.runner.known(begun, stop_reason=idle)
        return await self.runner.run(
            begun, Limits.of(self._config, manner.in_doubt), manner.stop_event, manner.listener
        )

    @asynccontextmanager
    async def _entered(self, session: SessionId, manner: Manner) -> AsyncIterator[None]:
        async with self._gates.entered(session, wait=manner.if_busy == "wait"):
            yield

    async def drain(self, seconds: float) -> None:
        """Give running turns so many seconds to end, then stop them. Whoever waits for a session is refused at once."""
        self._closing = True
        try:
            await self.runner.drain(seconds)
        finally:
            await uncancelled(self._gates.emptied())

    def _check_open(self) -> None:
        if self._closing:
            raise LoopClosedError("this loop was closed while the call waited; nothing of it was written")

    def __len__(self) -> int:
        """How many things are kept for single sessions."""
        return len(self._gates) + len(self.runner)
