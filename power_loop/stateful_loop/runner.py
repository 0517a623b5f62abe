"""Runs a claimed turn in a task of its own, so that a cancelled caller stops it and never tears it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from llm_client.json_text import read_json
from llm_client.service import Json, Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState
from power_loop.engine.facts import context_left
from power_loop.engine.limits import Limits
from power_loop.errors import EpochLostError, ModelError, PowerLoopError, SessionNotFoundError
from power_loop.events import Event
from power_loop.loop.drive import drive
from power_loop.loop.gear import Gear
from power_loop.loop.reopen import Warm, kept, reopen, warmed
from power_loop.loop.stop import StopSignal
from power_loop.loop.structured import OutputSpec
from power_loop.loop.turn import Ending, Turn
from power_loop.shielding import uncancelled
from power_loop.sink import Listeners, MessageSink, StoreSink, TeeSink
from power_loop.stateful_loop.results import StatefulResult, summed
from power_loop.stateful_loop.watch import StopEvent, Watch
from power_loop.store.contract import Begun, Known, SessionStore, Spending
from power_loop.store.records import CallInfo
from power_loop.transcript.measure import CAREFUL, tokens
from power_loop.values import SessionId, Status, cleaned

LOG = logging.getLogger("power_loop.runner")

Listener = Callable[[Event], None]

CLOSING: Final = "the loop is closing"


class Runner:
    """The turns of one loop: those that run, and what is kept warm between them."""

    def __init__(self, store: SessionStore, gear: Gear, listeners: Listeners) -> None:
        self._store = store
        self._gear = gear
        self.listeners = listeners
        """One for all turns: a sink that was dropped hears no more."""
        self._watch = Watch(store, self.input_waits, gear.hub)
        self._warm: OrderedDict[SessionId, Warm] = OrderedDict()
        self._running: dict[asyncio.Task[StatefulResult], StopSignal] = {}
        self._turns: dict[SessionId, Turn] = {}
        self._closing = False

    async def run(
        self,
        begun: Begun,
        limits: Limits,
        stop_event: StopEvent | None,
        listener: Listener | None,
        output: OutputSpec | None = None,
    ) -> StatefulResult:
        """Run a turn that is ours to its end. Must be awaited at once: until then nobody drives the turn.

        A cancelled caller stops the turn, waits until its end is recorded, and is then let go.
        """
        stop = StopSignal()
        if self._closing:
            stop.request(Status.STOPPED, CLOSING)
        self._watch.add(begun.claim, stop, stop_event)
        turn = self._drive_and_tell(begun, limits, stop, listener, output)
        task = asyncio.create_task(turn, name=f"turn of {begun.claim.session}")
        self._running[task] = stop
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.request(Status.CANCELLED, "the caller was cancelled")
            try:
                await uncancelled(asyncio.wait([task]))
            finally:
                note_lost(task)
            raise
        finally:
            self._watch.remove(begun.claim)

    async def known(
        self, known: Known, *, stop_reason: str | None = None, output: OutputSpec | None = None
    ) -> StatefulResult:
        """The stored outcome of a turn; its output, if it is of the shape asked for."""
        session, turn = known.session, known.turn
        pending = await self._store.pending(session.id)
        if turn is None:
            return StatefulResult(
                session_id=session.id,
                turn=0,
                status=Status.COMPLETED,
                final_text="",
                usage=Usage(prompt_tokens=0, completion_tokens=0),
                stop_reason=stop_reason,
            )
        text = "" if turn.answer_seq is None else await self._answer(session.id, turn.answer_seq)
        return StatefulResult(
            session_id=session.id,
            turn=turn.number,
            status=Status(turn.status or Status.INTERRUPTED),
            final_text=text,
            output=_read(output, text) if turn.answer_seq is not None else None,
            rounds=turn.rounds,
            usage=summed(await self._store.usage(session.id, turn.number)),
            pending_tool_calls=tuple(pending),
            context_left=session.context_left,
            stop_reason=stop_reason or turn.stop_reason,
        )

    async def _answer(self, session: SessionId, seq: int) -> str:
        """The last word; or, where a call ended the turn and nothing was said, the result of that call."""
        answer = await self._store.message(session, seq)
        if answer is None or answer.text or not answer.tool_calls:
            return "" if answer is None else answer.text
        calls = await self._store.calls_of_answer(session, seq)
        last = next((call for call in calls if call.state is CallState.SUCCEEDED and self._ends(call.name)), None)
        result = (
            None if last is None or last.result_seq is None else await self._store.message(session, last.result_seq)
        )
        return "" if result is None else result.text

    def _ends(self, name: str) -> bool:
        tool = self._gear.tools.get(name)
        return tool is not None and tool.ends_turn

    @property
    def gear(self) -> Gear:
        return self._gear

    def input_waits(self, session: SessionId) -> None:
        """Have the turn that runs here take input in at its next round boundary."""
        turn = self._turns.get(session)
        if turn is not None:
            turn.input_waits()

    def forget(self, session: SessionId) -> None:
        self._warm.pop(session, None)

    async def drain(self, seconds: float) -> None:
        """Let running turns end, for so long; then stop them and wait until their ends are recorded."""
        try:
            if self._running and seconds > 0:
                await asyncio.wait(self._running, timeout=seconds)
        finally:
            self._closing = True
            while self._running:
                for stop in self._running.values():
                    stop.request(Status.STOPPED, CLOSING)
                # A list: one that ends before the wait begins must not leave it with nothing to wait for.
                await uncancelled(asyncio.wait(list(self._running)))
            self._watch.end()
            self._gear.hub.close()

    def __len__(self) -> int:
        return len(self._running) + len(self._warm)

    async def _drive_and_tell(
        self,
        begun: Begun,
        limits: Limits,
        stop: StopSignal,
        listener: Listener | None,
        output: OutputSpec | None,
    ) -> StatefulResult:
        """What a turn comes to, once the listening sinks have heard of it, or for too long have not."""
        try:
            return await self._drive(begun, limits, stop, listener, output)
        finally:
            await self.listeners.caught_up()

    async def _drive(
        self,
        begun: Begun,
        limits: Limits,
        stop: StopSignal,
        listener: Listener | None,
        output: OutputSpec | None,
    ) -> StatefulResult:
        claim = begun.claim
        stored = StoreSink(
            self._store, claim, events=begun.events, told=partial(self._gear.hub.committed, claim.session)
        )
        sink: MessageSink = stored
        if self.listeners:
            sink = TeeSink(sink, self.listeners)
        turn: Turn | None = None
        try:
            turn = reopen(
                begun,
                await self._warmed(begun),
                gear=self._gear,
                limits=limits,
                sink=sink,
                stop=stop,
                listener=listener,
                lookup=_Lookup(self._store, begun, stored),
                output=output,
                memories=await self._memories(claim.session),
            )
            self._turns[claim.session] = turn
            await turn.announce(begun.fact, begun.stored)
            ending = await drive(turn)
        except (ModelError, EpochLostError):
            raise  # recorded as a failure; or no longer ours to record
        except BaseException as error:
            if turn is not None:
                await turn.abandoned()
            if await _is_stored(begun):
                await self._record_failure(begun, sink, listener, error)
            raise
        finally:
            self._turns.pop(claim.session, None)
            self._store.release(claim)
        # The end is on disk: whatever goes wrong from here on must not change it.
        self._keep(begun, turn)
        return await self._result(turn, ending)

    async def _memories(self, session: SessionId) -> dict[str, Json]:
        """What rules remember of a session, if there are rules that do."""
        if not self._gear.config.remembers:
            return {}
        return {name: read_json(memory) for name, memory in (await self._store.memories(session)).items()}

    async def _result(self, turn: Turn, ending: Ending) -> StatefulResult:
        pending = () if turn.snapshot.calls == () else tuple(await self._store.pending(turn.session))
        return StatefulResult(
            session_id=turn.session,
            turn=turn.snapshot.turn,
            status=ending.status,
            final_text=ending.final_text,
            output=turn.output,
            rounds=turn.rounds,
            usage=turn.usage,
            pending_tool_calls=pending,
            context_left=context_left(turn.snapshot.context_tokens, turn.limits.window),
            stop_reason=ending.stop_reason,
        )

    async def _warmed(self, begun: Begun) -> Warm:
        """What the model saw before this turn: from memory, if nobody has touched the session since, or read again.

        Raises:
            EpochLostError: somebody took the session before it was read, and is in the middle of something: what was
                read is no history to show to a model.
        """
        claim = begun.claim
        warm = self._warm.pop(claim.session, None)
        if warm is not None and (warm.key, warm.epoch) == (claim.key, begun.was):
            return warm
        if begun.stored is not None:
            await begun.stored()
        history = await self._store.history(claim.session)
        if history.key != claim.key:
            raise SessionNotFoundError(claim.session)
        if history.epoch != claim.epoch:
            raise EpochLostError(claim.session, claim.epoch, history.epoch)
        replay = self._gear.llm is not None and self._gear.llm.replay_reasoning
        return warmed(
            begun,
            history,
            replay=replay,
            measure=self._gear.measures.get(begun.model, CAREFUL),
            overhead=sum(map(tokens, self._gear.tools.specs)),
        )

    def _keep(self, begun: Begun, turn: Turn) -> None:
        self._warm[begun.claim.session] = kept(turn, begun.claim)
        while len(self._warm) > self._gear.config.warm_sessions:
            self._warm.popitem(last=False)

    async def _record_failure(
        self, begun: Begun, sink: MessageSink, listener: Listener | None, error: BaseException
    ) -> None:
        """The turn ended for a reason that is not the model's; write that down as well as may be."""
        claim = begun.claim
        fact: f.Fact
        if isinstance(error, asyncio.CancelledError):
            fact = f.TurnCancelled(
                session=claim.session, turn=claim.turn, status=Status.CANCELLED, stop_reason="the task was cancelled"
            )
        else:
            code = error.code if isinstance(error, PowerLoopError) else "internal"
            fact = f.TurnFailed(session=claim.session, turn=claim.turn, error_code=code, error=cleaned(f"{error}"))
        try:
            await sink.record([fact])
        except PowerLoopError as lost:
            LOG.error("the end of turn %d of session %s could not be recorded: %s", claim.turn, claim.session, lost)
            return
        if listener is not None:
            listener(fact)

    def _ended(self, task: asyncio.Task[StatefulResult]) -> None:
        self._running.pop(task, None)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What one turn reads of the store."""

    store: SessionStore
    begun: Begun
    sink: StoreSink

    async def take_inputs(self) -> tuple[f.NewMessage, ...]:
        return await self.sink.take_inputs()

    async def calls_of(self, seq: int) -> list[CallInfo]:
        return await self.store.calls_of_answer(self.begun.claim.session, seq)

    async def spending(self, *, tree: bool) -> Spending:
        claim = self.begun.claim
        return await self.store.spending(claim.session, self.begun.origin, claim.turn, tree=tree)


def _read(output: OutputSpec | None, text: str) -> object | None:
    try:
        return None if output is None else output.read(text)
    except ValueError:
        return None  # the turn was asked for something else, or for no output at all


async def _is_stored(begun: Begun) -> bool:
    """Whether the claim ever came to be: else there is no turn whose end could be recorded."""
    if begun.stored is not None:
        try:
            await begun.stored()
        except PowerLoopError:
            return False
    return True


def note_lost(task: asyncio.Task[StatefulResult]) -> None:
    """What a turn raised after its caller was cancelled: nobody is left to hear it but the log."""
    if task.done() and not task.cancelled() and task.exception() is not None:
        LOG.warning("a turn failed while it was stopped: %s", task.exception())
