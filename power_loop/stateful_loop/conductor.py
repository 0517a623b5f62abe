"""Whose turn it is: claims sessions in order, queues what has to wait, goes on where turns were cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from power_loop.compaction.ladder import Strategy
from power_loop.config import AgentLoopConfig
from power_loop.engine.limits import Limits
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import (
    LoopClosedError,
    ModelError,
    PowerLoopError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionError,
    SessionPendingError,
    SessionQuarantinedError,
)
from power_loop.loop.drift import refuse_drift
from power_loop.loop.stop import StopSignal
from power_loop.loop.structured import OutputSpec
from power_loop.shielding import uncancelled
from power_loop.stateful_loop.compacting import compact
from power_loop.stateful_loop.gates import Gates
from power_loop.stateful_loop.results import StatefulResult
from power_loop.stateful_loop.runner import CLOSING, Listener, Runner
from power_loop.stateful_loop.watch import StopEvent
from power_loop.store.contract import Begun, Input, Known, Quarantined, SessionStore, Waiting
from power_loop.store.records import CompactionInfo
from power_loop.values import InDoubt, InputMode, SessionId, Status

LOG = logging.getLogger("power_loop.conductor")

OnPending = Literal["raise", "resume", "abort"]
IfBusy = Literal["wait", "raise", "steer"]

BUSY_POLL: Final = 0.05
"""Seconds between looks at a session that another process drives."""

ABORTED: Final = "given up for a new message"

IDLE: Final = "idle"
"""The stop reason of a resume that found nothing to go on from."""

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a turn is to be run."""

    if_busy: IfBusy = "wait"
    in_doubt: InDoubt | None = None
    stop_event: StopEvent | None = None
    listener: Listener | None = None
    output: OutputSpec | None = None
    """What the last word of the turn is to be."""
    force: bool = False
    """Take the session even from a living owner of another process."""


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What was done about a session of the dead: `resumed` says whether a turn that was cut off went on."""

    resumed: bool
    result: StatefulResult | None
    """How the last turn ended."""
    failure: ModelError | None
    """Why an input that waited got no answer; those behind it wait on."""


class Conductor:
    """The turns of one loop over one open store."""

    def __init__(self, store: SessionStore, runner: Runner, config: AgentLoopConfig) -> None:
        self.store = store
        self.runner = runner
        self._config = config
        self._gates = Gates()
        self._closing = False
        self._compacting: set[StopSignal] = set()

    async def send(self, wanted: Input, on_pending: OnPending, manner: Manner) -> StatefulResult:
        """A turn on a new input; or, if its request is stored already, its outcome or the rest of it.

        An input that has to wait is in the inbox meanwhile. Whoever is not to wait any longer takes it out again.
        """
        session = wanted.session
        if on_pending == "abort":
            wanted = replace(wanted, abort_reason=ABORTED)
        place: Waiting | None = None
        if manner.if_busy != "raise":
            wanted = replace(wanted, queue=InputMode(manner.if_busy))
            if self._gates.occupied(session):
                self._check_open()
                place = self._placed(wanted, await self.store.queue_input(wanted))
        try:
            async with self._entered(session, manner):
                while True:
                    found: Begun | Known | Waiting | StatefulResult | None = None
                    if place is None:
                        found = await self._claimed(
                            session, lambda: self.store.begin_turn(wanted, ahead=True), manner, on_pending
                        )
                        place = self._placed(wanted, found)
                    if place is not None:
                        manner = replace(manner, if_busy="wait")  # it is in line, whatever it was to do before
                        found = await self._in_line(wanted, place, manner, on_pending)
                    if isinstance(found, StatefulResult) and place is not None:
                        await self._withdraw(session, place)  # clearing its way was stopped: it is not to come later
                    if found is not None and not isinstance(found, Waiting):
                        return await self._outcome(wanted, found, on_pending, manner, waited=place is not None)
                    place = None  # somebody withdrew it: begin again
        except BaseException:
            if place is not None:
                await self._withdraw(session, place)
            raise

    def _placed(self, wanted: Input, found: object) -> Waiting | None:
        """The place in line of an input that waits; whoever it is to steer hears of it."""
        if not isinstance(found, Waiting):
            return None
        if wanted.queue is InputMode.STEER:
            self.runner.input_waits(wanted.session)
        return found

    async def _in_line(
        self, wanted: Input, place: Waiting, manner: Manner, on_pending: OnPending
    ) -> Begun | Known | StatefulResult | None:
        """Run what came before an input of ours, until it is its turn; or somebody's turn took it in."""
        session, reason = wanted.session, wanted.abort_reason
        while True:
            try:
                begun = await self._claimed(
                    session,
                    lambda: self.store.begin_next(session, place.number, abort_reason=reason),
                    manner,
                    on_pending,
                )
            except SessionError:
                if await self._out_of_line(session, place):
                    raise
                continue  # a turn has taken it in meanwhile: it was not refused after all
            if not isinstance(begun, Begun) or begun.input == place.number:
                return begun
            await self._run_for_others(begun)

    async def _run_for_others(self, begun: Begun) -> None:
        """A turn on an input whose sender is not here. That it failed is recorded, and no reason to stop."""
        try:
            await self._finish(begun, Manner())
        except ModelError as error:
            LOG.warning("input %s of session %s got no answer: %s", begun.input, begun.claim.session, error)

    async def _outcome(
        self,
        wanted: Input,
        begun: Begun | Known | StatefulResult,
        on_pending: OnPending,
        manner: Manner,
        *,
        waited: bool,
    ) -> StatefulResult:
        if isinstance(begun, StatefulResult):
            return begun
        if isinstance(begun, Begun) or begun.turn is None or begun.turn.state is TurnState.DONE:
            return await self._finish(begun, manner)
        turn = begun.turn
        if waited and turn.state in (TurnState.CANCELLED, TurnState.WAITING):
            return await self._finish(begun, manner)  # it took our input in while we waited, and somebody stopped it
        if on_pending == "abort":
            await self._claimed(wanted.session, lambda: self.store.abort_pending(wanted.session, ABORTED), manner)
        try:
            return await self._resumed(wanted.session, {}, manner, origin=turn.origin)
        except (SessionArchivedError, SessionClosedError):
            if not waited:
                raise
            return await self._finish(begun, manner)  # our input was taken in before that

    async def _out_of_line(self, session: SessionId, place: Waiting) -> bool:
        """Whether an input that was refused still waited; if we put it there it does no more."""
        if place.ours:
            return await self.store.withdraw_input(session, place.number)
        return any(waiting.number == place.number for waiting in await self.store.queued_inputs(session))

    async def _withdraw(self, session: SessionId, place: Waiting) -> None:
        """Take an input out of the line again, if we put it there: one that was sent before stays."""
        if place.ours:
            with suppress(PowerLoopError):  # what stands in its way is already on its way to the caller
                await self.store.withdraw_input(session, place.number)

    async def resume(self, session: SessionId, decisions: Mapping[str, str], manner: Manner) -> StatefulResult:
        """Go on with what was cut off, then with the inputs that the dead left waiting."""
        async with self._entered(session, manner):
            result = await self._resumed(session, decisions, manner)
            if result.status not in (Status.COMPLETED, Status.HIT_ROUND_LIMIT):
                return result
            last, failure = await self._take_up_inputs(session)
            if result.stop_reason != IDLE:
                return result
            if failure is not None:
                raise failure
            return last or result

    async def _take_up_inputs(self, session: SessionId) -> tuple[StatefulResult | None, ModelError | None]:
        """Run the inputs whose senders are dead, in order; how the last one ended.

        One that gets no answer ends this: the others wait until the model is back.
        """
        last = None
        while not self._closing:
            try:
                begun = await self.store.begin_next(session, None)
            except (SessionBusyError, SessionPendingError, SessionArchivedError, SessionClosedError):
                break  # another process had it since our turn ended, which is no failure of that turn
            if not isinstance(begun, Begun):
                break
            try:
                last = await self._finish(begun, Manner())
            except ModelError as error:
                LOG.warning("input %s of session %s got no answer: %s", begun.input, session, error)
                return last, error
            if last.pending_tool_calls:
                break
        return last, None

    async def _resumed(
        self, session: SessionId, decisions: Mapping[str, str], manner: Manner, *, origin: int | None = None
    ) -> StatefulResult:
        begun = await self._claimed(
            session, lambda: self._take_up(session, decisions, force=manner.force, origin=origin), manner
        )
        assert not isinstance(begun, StatefulResult | Waiting | None)
        return await self._finish(begun, manner, idle=IDLE)

    async def take_up_orphan(self, session: SessionId) -> TakenUp | None:
        """Go on with a session whose owner, or the senders of whose inputs, died; None if somebody was faster."""
        async with self._entered(session, Manner(if_busy="raise")):
            self._check_open()
            begun = await self._take_up(session, {}, only_orphan=True)
            result = None
            if isinstance(begun, Begun):
                result = await self._finish(begun, Manner())
                if result.status not in (Status.COMPLETED, Status.HIT_ROUND_LIMIT):
                    return TakenUp(True, result, None)
            last, failure = await self._take_up_inputs(session)
            if result is None and last is None and failure is None:
                return None
            return TakenUp(result is not None, last or result, failure)

    async def _take_up(
        self,
        session: SessionId,
        decisions: Mapping[str, str],
        *,
        only_orphan: bool = False,
        force: bool = False,
        origin: int | None = None,
    ) -> Begun | Known:
        """Claim a session to go on with it.

        Raises:
            SessionQuarantinedError: that has been tried too often without progress.
            ToolChangedError: its tools are not what they were, and the policy is to refuse.
        """
        refuse = self._config.tool_drift == "refuse"
        begun = await self.store.resume_turn(
            session,
            decisions,
            only_orphan=only_orphan,
            force=force,
            origin=origin,
            max_recoveries=self._config.max_recoveries,
            accept=(lambda calls: refuse_drift(session, calls, self.runner.gear.tool)) if refuse else None,
        )
        if isinstance(begun, Quarantined):
            shown = [call.shown_open(driven=False) for call in begun.calls]
            raise SessionQuarantinedError(session, shown, begun.session.recoveries)
        return begun

    async def _claimed(
        self,
        session: SessionId,
        claim: Callable[[], Awaitable[C]],
        manner: Manner,
        on_pending: OnPending = "raise",
    ) -> C | StatefulResult:
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
                result = await self._resumed(session, {}, manner)
                if result.status in (Status.STOPPED, Status.CANCELLED):
                    return result

    async def _until_free(self, session: SessionId) -> None:
        """Wait while another process drives a session: by reading only, so that nobody's commit has to wait for us."""
        while (await self.store.session_info(session)).state is SessionState.RUNNING:
            self._check_open()
            await asyncio.sleep(BUSY_POLL)

    async def _finish(self, begun: Begun | Known, manner: Manner, *, idle: str | None = None) -> StatefulResult:
        if isinstance(begun, Known):
            return await self.runner.known(begun, stop_reason=idle, output=manner.output)
        return await self.runner.run(
            begun, Limits.of(self._config, manner.in_doubt), manner.stop_event, manner.listener, manner.output
        )

    @asynccontextmanager
    async def _entered(self, session: SessionId, manner: Manner) -> AsyncIterator[None]:
        async with self._gates.entered(session, wait=manner.if_busy != "raise"):
            yield

    async def compact(
        self, session: SessionId, strategies: Sequence[Strategy] | None, manner: Manner
    ) -> CompactionInfo | None:
        """Fold a session's history once nobody of this loop is in it; see `compacting.compact`."""
        stop = StopSignal()
        async with self._entered(session, manner):
            self._check_open()
            if manner.if_busy != "raise":
                await self._until_free(session)
            self._compacting.add(stop)
            try:
                done = await compact(self.store, self.runner.gear, session, strategies, stop)
            finally:
                self._compacting.discard(stop)
            self.runner.forget(session)
            return done

    async def undo_compaction(self, session: SessionId, manner: Manner) -> CompactionInfo:
        async with self._entered(session, manner):
            self._check_open()
            if manner.if_busy != "raise":
                await self._until_free(session)
            done = await self.store.undo_compaction(session)
            self.runner.forget(session)
            return done

    async def drain(self, seconds: float) -> None:
        """Give running turns so many seconds to end, then stop them. Whoever waits for a session is refused at once."""
        self._closing = True
        for stop in self._compacting:
            stop.request(Status.STOPPED, CLOSING)
        try:
            await self.runner.drain(seconds)
        finally:
            await uncancelled(self._gates.emptied())

    def _check_open(self) -> None:
        if self._closing:
            raise LoopClosedError("this loop was closed while the call waited; nothing of it was written")

    def __len__(self) -> int:
        """How many things are kept for single sessions."""
        return len(self._gates) + len(self.runner) + len(self.runner.gear.hub)
