"""Spans as the SDK's own exporter has them, and facts to make them of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.values import CallKey, Effect, SessionId

S = SessionId("s")
KEY = CallKey(2, 0)


class Traced:
    """A provider, and what it has exported."""

    def __init__(self, **how: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**how)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """In the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span


def said(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def began(turn: int = 1, origin: int | None = None, session: str = "s", **more: Any) -> f.TurnBegan:
    return f.TurnBegan(session=SessionId(session), turn=turn, origin=origin or turn, request_id=None, input=(), **more)


def answered(turn: int = 1, session: str = "s") -> f.TurnCancelled:
    return f.TurnCancelled(session=SessionId(session), turn=turn, status="cancelled", stop_reason="enough")


def asked(**more: Any) -> f.ModelCall:
    return f.ModelCall(**{"purpose": "answer", "model": "gpt-x", "usage": None, "milliseconds": 0, **more})


REQUESTED = f.RequestedCall(key=KEY, id="call_7", name="work", arguments="{}", effect=Effect.ONCE, schema_hash=None)


def started() -> f.CallsStarted:
    return f.CallsStarted(session=S, turn=1, calls=(KEY,))


def settled(state: CallState, by: SettledBy = SettledBy.RUN) -> f.CallSettled:
    message = f.NewMessage(seq=3, role="tool", body="{}")
    return f.CallSettled(session=S, turn=1, key=KEY, state=state, settled_by=by, message=message)
