"""One turn of one session, in memory: what is known of it, and the one way to change it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llm_client.json_text import read_json
from llm_client.messages import replayed
from llm_client.service import ChatRequest, Json, Usage
from power_loop.engine import facts as f
from power_loop.engine.limits import Limits
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.errors import ContextOverflowError, PowerLoopError
from power_loop.events import Event
from power_loop.loop.brief import Brief
from power_loop.loop.gear import Gear
from power_loop.loop.passed import Passed
from power_loop.loop.stepping import STEPS, Stepping
from power_loop.loop.stop import StopSignal
from power_loop.rules import Spent
from power_loop.shielding import uncancelled
from power_loop.sink import MessageSink
from power_loop.store.contract import Spending
from power_loop.transcript.recall import Handle
from power_loop.transcript.view import Entry, View
from power_loop.values import CallKey, Micros, SessionId, Status


@dataclass(frozen=True, slots=True)
class Ending:
    """How the turn ended, for its result."""

    status: Status
    stop_reason: str | None
    final_text: str


class Counted(NamedTuple):
    """A provider's count of a whole context."""

    seq: int
    """Of the answer it came with, which is in it."""
    tokens: int


class Turn:
    """The driver's hold on a turn.

    `record` is the only way anything changes: facts move the snapshot and the view (or raise), and reach the sink, then
    whoever listens. Where the sink refuses them the turn is over, and this object with it.

    Facts reach the sink in order, one `record` after the other. What a question to the model needs of them is in memory
    already, so the model may be asked while they are *under way*; everything else waits for them.
    """

    def __init__(
        self,
        *,
        session: SessionId,
        key: int,
        born: Micros,
        gear: Gear,
        sink: MessageSink,
        stop: StopSignal,
        limits: Limits,
        snapshot: Snapshot,
        view: View,
        next_seq: int,
        model: str | None,
        listener: Callable[[Event], None] | None,
        brief: Brief,
        answered: int = 0,
    ) -> None:
        self.session = session
        self.key = key
        """The number of its session."""
        self.born = born
        self.gear = gear
        self.stop = stop
        self.limits = limits
        self.snapshot = snapshot
        self.view = view
        self.next_seq = next_seq
        self.requests = view.unanswered(answered)
        """The messages this turn works on; never folded."""
        self.refusal: ContextOverflowError | None = None
        """What the endpoint said when it last found a request too long."""
        self.counted: Counted | None = None
        """When a provider last counted this view."""
        self.model = model
        self.listener = listener
        self.brief = brief
        self.memories: dict[str, Json] = dict(brief.memories)
        """What rules remember of the session by now."""
        steps = gear.config.steps
        resumed = brief.origin < snapshot.turn
        self.stepping = None if steps is None else Stepping.of(steps, self.memories.get(STEPS), resumed=resumed)
        """Where the session stands in its steps."""
        self.output: object | None = None
        """What the turn has come to, where that is more than text."""
        self.reasked = 0
        """How often an answer was no output."""
        self.spent = Spent()
        """By this turn alone, but for its time."""
        self.others: Spending | None = None
        """What was spent beside, once somebody has asked."""
        self.since = gear.world.monotonic()
        self.usage = Usage(prompt_tokens=0, completion_tokens=0)
        self.ending: Ending | None = None
        self.passed = Passed()
        self.rounds = 0
        self._sink = sink
        self._held: list[f.Fact] = []
        self._under_way: asyncio.Task[None] | None = None

    @property
    def stamp(self) -> f.Stamp:
        """Which session and turn a fact is of."""
        return {"session": self.session, "turn": self.snapshot.turn}

    async def record(self, *facts: f.Fact, hold: bool = False, ahead: bool = False) -> None:
        """Record facts together; once this returns they hold, whatever happens next.

        With `hold` they wait for the next `record` and are committed with it. Only for facts that nothing depends on
        before that: should the process die in between, they never happened.

        With `ahead` they are on their way to the sink when this returns, and the turn goes on to ask the model. All
        else that is recorded comes after them. Should the sink refuse them, the turn is stopped and `flush` raises why.

        Raises:
            StateError: they do not follow; nothing is changed.
            PowerLoopError: the sink could not; nothing is recorded.
        """
        snapshot = self.snapshot
        for fact in facts:
            snapshot = snapshot.after(fact)
        self._held.extend(facts)
        self.snapshot = snapshot
        for fact in facts:
            self._take_in(fact)
        if ahead:
            await self.arrived()
            self._send_off(self._recorded())
        elif not hold:
            await self.flush()

    async def announce(self, began: f.TurnBegan, stored: Callable[[], Awaitable[object]] | None) -> None:
        """Tell whoever listens that the turn began, once the claim is committed: `stored` says when that is."""
        self._held.append(began)
        if stored is None:
            await self.flush()
        else:
            self._send_off(self._recorded(stored))

    async def flush(self) -> None:
        """Record what is held, after what is under way. Raises what the sink said to either."""
        await self.arrived()
        if self._held:
            await self._recorded()

    async def arrived(self) -> None:
        """Wait for what is under way; whoever is cancelled here cancels no record."""
        if self._under_way is not None:
            under_way = self._under_way
            try:
                await uncancelled(under_way)
            finally:
                self._under_way = None

    async def abandoned(self) -> None:
        """Wait until nothing is under way, whatever becomes of it: nothing is recorded in here any more."""
        with suppress(PowerLoopError):
            await self.arrived()

    async def _recorded(self, before: Callable[[], Awaitable[object]] | None = None) -> None:
        facts, self._held = self._held, []
        if before is not None:
            await before()
        await self._sink.record(facts)
        for fact in facts:
            self.publish(fact)

    def _send_off(self, recording: Coroutine[Any, Any, None]) -> None:
        self._under_way = asyncio.create_task(recording, name=f"record of {self.session}")
        self._under_way.add_done_callback(self._sent)

    def _sent(self, recorded: asyncio.Task[None]) -> None:
        """What the sink refused must not wait until the model has answered: the turn ends at its next `flush`."""
        if recorded.cancelled() or recorded.exception() is not None:
            self.stop.request(Status.STOPPED, "what happened could not be recorded")

    def publish(self, event: Event) -> None:
        if self.listener is not None:
            self.listener(event)
        hub = self.gear.hub
        if not isinstance(event, f.Fact) and hub.listened(self.session):
            hub.publish(self.session, event, self.gear.world.now())

    @property
    def listened(self) -> bool:
        """Whether anybody wants to hear what the model is about to say."""
        return self.listener is not None or self.gear.hub.listened(self.session)

    def call_view(self, call: f.RequestedCall) -> CallView:
        """A call just asked for, as the engine sees it."""
        tool = self.gear.tool(call.name)
        return CallView(
            key=call.key,
            id=call.id,
            name=call.name,
            arguments=call.arguments,
            effect=call.effect,
            known=tool is not None,
            parallel=tool is not None and tool.parallel,
            reconciles=tool is not None and tool.reconcile is not None,
            asks=self.brief.policy.may_ask(tool),
            ends=tool is not None and tool.ends_turn,
            host=tool is not None and tool.external,
        )

    def watched(self) -> None:
        """The watchers have seen the round that has ended."""
        self.snapshot = replace(self.snapshot, watched=self.snapshot.rounds)

    def input_waits(self) -> None:
        """Somebody steers this turn: there is input to take in at the next round boundary."""
        self.snapshot = replace(self.snapshot, inputs_wait=True)

    def waits_for_a_count(self) -> None:
        """There is nothing to fold until the provider has counted again."""
        self.snapshot = replace(self.snapshot, may_fold=False)

    def asked(self, calls: Collection[CallView]) -> None:
        """Whether these calls need an approval is settled."""
        keys = {call.key for call in calls}
        kept = tuple(replace(call, asks=False) if call.key in keys else call for call in self.snapshot.calls)
        self.snapshot = replace(self.snapshot, calls=kept)

    def cannot_reconcile(self, key: CallKey) -> None:
        """The tool's own word on a call in doubt was no help; the policy decides."""
        calls = tuple(replace(call, reconciles=False) if call.key == key else call for call in self.snapshot.calls)
        self.snapshot = replace(self.snapshot, calls=calls)

    def request(self, *, with_tools: bool) -> ChatRequest:
        """The next request: all that the model sees, joined from what is stored."""
        config, gear = self.gear.config, self.gear
        tools = self._offered() if with_tools else ()
        if with_tools and gear.recall is not None and self.view.shortened:
            tools = (*tools, gear.recall.spec)
        return ChatRequest(
            messages=self.view.texts(),
            tools=tools,
            model=self.model,
            max_tokens=config.max_reply_tokens,
            temperature=config.temperature,
            response_format=None if self.brief.output is None else self.brief.output.response_format,
            extra=config.extra,
        )

    def _offered(self) -> tuple[str, ...]:
        """The tools that the model may call now."""
        tools = self.gear.tools
        if self.stepping is None:
            return tools.specs
        names = set(self.stepping.steps.offered(self.stepping.state, tools.names))
        return tuple(tool.spec for tool in tools if tool.name in names)

    @property
    def handle(self) -> Callable[[int], str] | None:
        """By which the model can read a message of this session again; None: it cannot."""
        return None if self.gear.recall is None else lambda seq: str(Handle(self.key, seq))

    def context(self, usage: Usage | None, body: str) -> f.Context:
        """How full the window is once this answer is in it."""
        return f.Context(tokens=self.snapshot.context_with(usage, body), window=self.limits.window)

    def spend(self, call: f.ModelCall) -> None:
        usage = call.usage
        if self.gear.budgeted:
            self.spent += Spent(tokens=0 if usage is None else usage.total_tokens, cost=call.cost)
        if usage is not None:
            total = self.usage
            self.usage = Usage(
                prompt_tokens=total.prompt_tokens + usage.prompt_tokens,
                completion_tokens=total.completion_tokens + usage.completion_tokens,
                cached_tokens=total.cached_tokens + usage.cached_tokens,
                reasoning_tokens=total.reasoning_tokens + usage.reasoning_tokens,
            )

    def _take_in(self, fact: f.Fact) -> None:
        """What a fact means for the view, the usage and the next number."""
        match fact:
            case f.CallsRequested():
                self._count_round()
                self._learn(fact.message.seq, fact.model_call.usage)
                self._add(fact.message)
                self.next_seq = fact.message.seq + len(fact.calls) + 1
                self.spend(fact.model_call)
                self.snapshot = replace(self.snapshot, calls=tuple(map(self.call_view, fact.calls)))
            case f.AnswerReceived():
                if fact.status != Status.HIT_ROUND_LIMIT:
                    self._count_round()
                self._learn(fact.message.seq, fact.model_call.usage)
                self._add(fact.message)
                self.next_seq = fact.message.seq + 1
                self.spend(fact.model_call)
            case f.AnswerContinued():
                self._count_round()
                self._learn(fact.message.seq, fact.model_call.usage)
                self._add(fact.message)
                self._add(fact.note)
                self.next_seq = fact.note.seq + 1
                self.spend(fact.model_call)
            case f.Noted():
                self._add(fact.message)
                self.next_seq = fact.message.seq + 1
            case f.AnswerDropped():
                self.spend(fact.model_call)
            case f.CallSettled():
                self._add(fact.message)
            case f.InputSteered():
                for message in fact.messages:
                    self._add(message)
                    self.next_seq = message.seq + 1
                self.requests |= {message.seq for message in fact.messages}
            case f.HistoryCompacted():
                self.view.fold(fact.folded, [_entry(note, note=True) for note in fact.notes])
                self.next_seq = fact.notes[-1].seq + 1
                self.counted = None
                for call in fact.model_calls:
                    self.spend(call)
            case f.CompactionFailed():
                for call in fact.model_calls:
                    self.spend(call)
            case f.RulesRemembered():
                for one in fact.memories:
                    self.memories[one.name] = read_json(one.memory)
            case _:
                pass

    def _count_round(self) -> None:
        self.rounds += 1
        if self.gear.budgeted:
            self.spent += Spent(rounds=1)

    def _learn(self, seq: int, usage: Usage | None) -> None:
        """Hold what the provider counted against our estimate of what came since it last counted."""
        before, self.counted = self.counted, None if usage is None else Counted(seq, usage.total_tokens)
        if usage is None or before is None or usage.reasoning_tokens:
            return  # reasoning is counted where it is said, and not where it is not sent again
        new = [entry.wire for entry in self.view.since(before.seq)]
        measure = self.snapshot.measure.learned(new, usage.prompt_tokens - before.tokens)
        self.snapshot = replace(self.snapshot, measure=measure)
        self.gear.measures[self.model] = measure

    def _add(self, message: f.NewMessage) -> None:
        replay = self.gear.llm is not None and self.gear.llm.replay_reasoning
        self.view.add(_entry(message, replay=replay))


def _entry(message: f.NewMessage, *, note: bool = False, replay: bool = False) -> Entry:
    return Entry(
        place=message.seq if message.place is None else message.place,
        seq=message.seq,
        role=message.role,
        wire=replayed(message.body, message.provider) if replay else message.body,
        pinned=message.pinned,
        note=note,
    )
