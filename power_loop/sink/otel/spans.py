"""The spans of the turns that run. The one module that imports OpenTelemetry."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer, TracerProvider
from opentelemetry.trace import Status as SpanStatus

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState
from power_loop.sink.brief import CallNames, Simple, cut, ends_turn, model_calls, scalars
from power_loop.sink.otel import names
from power_loop.sink.otel.ids import ChosenIds, span_id, trace_id
from power_loop.values import CallKey, SessionId, World

_FAULTS: Final = frozenset({CallState.FAILED, CallState.TIMED_OUT})


@dataclass(slots=True)
class _Turn:
    """A turn that runs: its span, and what is open in it."""

    number: int
    span: Span
    inside: Context
    """What the spans in it are begun with."""
    calls: dict[CallKey, Span] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0


class Spans:
    """What facts mean as spans. Holds a turn until it ends, or another begins in its session; never too many."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        *,
        namespace: str,
        agent: str | None,
        provider: str,
        open_turns: int,
        world: World,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._namespace = namespace
        self._agent = agent
        self._provider = provider
        self._open_turns = open_turns
        self._world = world
        self._tracer: Tracer | None = None
        self._turns: OrderedDict[SessionId, _Turn] = OrderedDict()
        self._names = CallNames(open_turns)

    def take_in(self, fact: f.Fact) -> None:
        self._names.hear(fact)
        if isinstance(fact, f.TurnBegan):
            self._begin(fact)
            return
        turn = self._turns.get(fact.session)
        if turn is None or turn.number != fact.turn:
            return  # its beginning was never heard of
        self._ask(turn, fact)
        match fact:
            case f.CallsStarted():
                for key in fact.calls:
                    self._start_call(turn, fact.session, key)
            case f.CallSettled():
                self._settle(turn, fact)
            case f.CallsRequested() | f.RoundClosed() | f.AnswerDropped() | f.AnswerReceived():
                pass  # the spans say it
            case f.TurnCancelled() | f.TurnInterrupted():
                pass  # its end says it
            case _:
                turn.span.add_event(names.own(type(fact).__name__), _prefixed(scalars(fact)), self._now())
        if ends_turn(fact):
            self._end(fact.session, turn, fact)

    def end_all(self) -> None:
        while self._turns:
            self._end(*next(iter(self._turns.items())), None)

    def __len__(self) -> int:
        return len(self._turns)

    def _begin(self, fact: f.TurnBegan) -> None:
        before = self._turns.get(fact.session)
        if before is not None:
            self._end(fact.session, before, None)
            self._names.hear(fact)
        while len(self._turns) >= self._open_turns:
            self._end(*next(iter(self._turns.items())), None)
        attributes: dict[str, Simple] = {**self._common(fact.session, names.INVOKE_AGENT), names.TURN: fact.turn}
        attributes[names.ORIGIN] = fact.origin
        if self._agent is not None:
            attributes[names.AGENT] = self._agent
        if fact.request_id is not None:
            attributes[names.REQUEST] = cut(fact.request_id)
        span = self._turn_span(fact, attributes)
        self._turns[fact.session] = _Turn(fact.turn, span, trace.set_span_in_context(span, Context()))

    def _turn_span(self, fact: f.TurnBegan, attributes: Mapping[str, Simple]) -> Span:
        """A root span under the ids that every process gives this turn.

        The API cannot say which ids a span is to have, but the tracer of the SDK asks a generator for them. Where the
        tracer is another's, the trace id comes from a parent instead, which nobody ever sends.
        """
        tracer = self._the_tracer()
        ids: object = getattr(tracer, "id_generator", None)
        resumed = fact.turn > fact.origin
        links = [Link(self._place(fact.session, fact.origin, fact.turn - 1))] if resumed else []
        parent = Context()
        name = names.INVOKE_AGENT if self._agent is None else f"{names.INVOKE_AGENT} {self._agent}"
        place = self._place(fact.session, fact.origin, fact.turn)
        if not isinstance(ids, ChosenIds):
            parent = trace.set_span_in_context(trace.NonRecordingSpan(place), parent)
            return tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, links, self._now())
        with ids.chosen(place.trace_id, place.span_id):
            return tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, links, self._now())

    def _place(self, session: SessionId, origin: int, turn: int) -> SpanContext:
        """Where the span of a turn is, or would be, whichever process has it."""
        return SpanContext(
            trace_id(self._namespace, session, origin),
            span_id(self._namespace, session, turn),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )

    def _the_tracer(self) -> Tracer:
        """Of the provider that is the global one by now, unless the app gave another."""
        if self._tracer is None:
            provider = self._tracer_provider or trace.get_tracer_provider()
            self._tracer = provider.get_tracer(names.SCOPE)
            sdk: Any = self._tracer
            others = getattr(sdk, "id_generator", None)
            if others is not None and not isinstance(others, ChosenIds):
                sdk.id_generator = ChosenIds(others)  # the SDK has one tracer a scope, and this scope is ours
        return self._tracer

    def _ask(self, turn: _Turn, fact: f.Fact) -> None:
        """The requests to the model that a fact tells of, one before the other, the last one just over."""
        end = self._now()
        for call in reversed(list(model_calls(fact))):
            start = end - call.milliseconds * 1_000_000
            attributes: dict[str, Simple | list[str]] = {
                **self._common(fact.session, names.CHAT),
                names.REQUEST_MODEL: cut(call.model),
                names.RESPONSE_MODEL: cut(call.model),
                names.PURPOSE: cut(call.purpose),
            }
            if call.usage is not None:
                attributes[names.INPUT_TOKENS] = call.usage.prompt_tokens
                attributes[names.OUTPUT_TOKENS] = call.usage.completion_tokens
                if call.usage.cached_tokens:
                    attributes[names.CACHED_TOKENS] = call.usage.cached_tokens
                if call.usage.reasoning_tokens:
                    attributes[names.REASONING_TOKENS] = call.usage.reasoning_tokens
                if call.purpose != "overflow":  # nothing was paid for that
                    turn.input_tokens += call.usage.prompt_tokens
                    turn.output_tokens += call.usage.completion_tokens
            if call.cost is not None:
                attributes[names.COST] = call.cost
            if isinstance(fact, f.AnswerReceived) and fact.status == "completed":
                attributes[names.FINISH_REASONS] = [cut(fact.stop_reason)]
            span = self._the_tracer().start_span(
                f"{names.CHAT} {cut(call.model)}", turn.inside, SpanKind.CLIENT, attributes, start_time=start
            )
            if isinstance(fact, f.ContextOverflowed):
                _fail(span, names.OVERFLOW, "the endpoint found the request too long")
            span.end(end)
            end = start

    def _start_call(self, turn: _Turn, session: SessionId, key: CallKey) -> None:
        again = turn.calls.pop(key, None)
        if again is not None:
            _fail(again, names.END_UNKNOWN, "it was started again")
            again.end(self._now())
        attributes: dict[str, Simple] = {
            **self._common(session, names.EXECUTE_TOOL),
            names.TOOL_TYPE: names.FUNCTION,
            names.CALL_KEY: f"{key.seq}.{key.ordinal}",
        }
        name = names.EXECUTE_TOOL
        named = self._names.of(session, key)
        if named is not None:
            name = f"{name} {cut(named.name)}"
            attributes |= {names.TOOL: cut(named.name), names.CALL_ID: cut(named.id)}
        turn.calls[key] = self._the_tracer().start_span(
            name, turn.inside, SpanKind.INTERNAL, attributes, start_time=self._now()
        )

    def _settle(self, turn: _Turn, fact: f.CallSettled) -> None:
        span = turn.calls.pop(fact.key, None)
        if span is None:  # it did not run in this turn: refused, reported, reconciled, or decided by a person
            named = self._names.of(fact.session, fact.key)
            known = {} if named is None else {names.TOOL: cut(named.name), names.CALL_ID: cut(named.id)}
            turn.span.add_event(names.own("CallSettled"), {**_prefixed(scalars(fact)), **known}, self._now())
            return
        span.set_attribute(names.CALL_STATE, fact.state.value)
        if fact.state in _FAULTS:
            _fail(span, fact.state.value, f"the tool {fact.state.value.replace('_', ' ')}")
        span.end(self._now())

    def _end(self, session: SessionId, turn: _Turn, fact: f.Fact | None) -> None:
        """End a turn and what is open in it; without a fact, because nobody will say any more how it ended."""
        now = self._now()
        for call in turn.calls.values():
            _fail(call, names.IN_DOUBT, "its turn ended while it ran: what it does may happen fully, partly or not")
            call.end(now)
        span = turn.span
        if turn.input_tokens or turn.output_tokens:
            span.set_attributes({names.INPUT_TOKENS: turn.input_tokens, names.OUTPUT_TOKENS: turn.output_tokens})
        said = {} if fact is None else scalars(fact)
        for own, attribute in (("status", names.STATUS), ("stop_reason", names.STOP_REASON)):
            if own in said:
                span.set_attribute(attribute, said[own])
        if isinstance(fact, f.TurnFailed):
            _fail(span, cut(fact.error_code), cut(fact.error))
        elif isinstance(fact, f.TurnInterrupted):
            _fail(span, names.INTERRUPTED, cut(fact.stop_reason))
        elif fact is None:
            _fail(span, names.END_UNKNOWN, "this process never heard how the turn ended")
        span.end(now)
        del self._turns[session]
        self._names.forget(session)

    def _common(self, session: SessionId, operation: str) -> dict[str, Simple]:
        return {names.OPERATION: operation, names.PROVIDER: self._provider, names.CONVERSATION: cut(session)}

    def _now(self) -> int:
        """Nanoseconds, as spans have them."""
        return self._world.micros() * 1_000


def _prefixed(said: Mapping[str, Simple]) -> dict[str, Simple]:
    return {names.own(name): value for name, value in said.items()}


def _fail(span: Span, kind: str, why: str) -> None:
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(SpanStatus(StatusCode.ERROR, why))
