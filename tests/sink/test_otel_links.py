"""Turns that work on one input are one trace, whichever process has them, and each links to the one it goes on from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import StatusCode

from power_loop import ModelError, OpenTelemetrySink
from power_loop.sink.otel import names
from power_loop.sink.otel.ids import span_id, trace_id
from tests.loop.kit import open_loop
from tests.sink.tracing import Traced, answered, began, said
from tests.store.kit import ROOT, child, says


@pytest.fixture
def traced() -> Traced:
    return Traced()


async def test_a_failed_turn_says_why_in_its_span_and_the_resumed_one_links_to_it(
    tmp_path: Path, traced: Traced
) -> None:
    sinks = [OpenTelemetrySink(traced.provider)]
    async with open_loop(tmp_path, [ModelError("gone"), "back"], sinks=sinks) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelError):
            await loop.send("go", "s")
        await loop.resume("s")
    failed, resumed = traced.spans("invoke_agent")
    assert failed.status.status_code is StatusCode.ERROR
    assert (said(failed)["error.type"], failed.status.description) == ("model.error", "gone")
    assert [event.name for event in failed.events] == ["power_loop.TurnFailed"]
    assert resumed.context.trace_id == failed.context.trace_id
    (link,) = resumed.links
    assert (link.context.trace_id, link.context.span_id) == (failed.context.trace_id, failed.context.span_id)
    assert (said(resumed)["power_loop.turn"], said(resumed)["power_loop.origin"]) == (2, 1)
    assert resumed.parent is None


async def test_a_new_input_is_a_trace_of_its_own(tmp_path: Path, traced: Traced) -> None:
    async with open_loop(tmp_path, ["a", "b"], sinks=[OpenTelemetrySink(traced.provider)]) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        await loop.send("two", "s")
    first, second = traced.spans("invoke_agent")
    assert first.context.trace_id != second.context.trace_id
    assert not second.links


APP = """
import json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

folder, what = sys.argv[1:]

class Lines(SpanExporter):
    def export(self, spans):
        with open(f"{folder}/spans.jsonl", "a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\\n")
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Lines()))

@tool
def read() -> str:
    "Reads."
    return "read"

@tool(effect="idempotent")
async def put() -> str:
    "Puts."
    if what == "die":
        print("in put", flush=True)
        await asyncio.Event().wait()
    return "put"

script = [calls(("read", {})), calls(("put", {}))] if what == "die" else ["done"]

async def main():
    loop = StatefulAgentLoop(
        llm=ScriptedLLM(script), db_path=f"{folder}/agent.db", tools=[read, put], sinks=[OpenTelemetrySink(provider)]
    )
    async with loop:
        if what == "die":
            await loop.create_session("s")
            await loop.send("go", "s")
        else:
            print((await loop.resume("s")).final_text, flush=True)

asyncio.run(main())
"""


async def test_a_turn_resumed_after_a_kill_links_to_the_one_that_was_never_sent(tmp_path: Path) -> None:
    """What docs/observability.md says a backend shows."""
    with child(APP, tmp_path, "die") as first:
        says(first, "in put")
        first.kill()
        first.wait()
    left = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    with child(APP, tmp_path, "resume") as second:
        says(second, "done")
    spans = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    # Of the dead process: what had ended in its turn; neither the turn nor the call that ran.
    assert [span["name"] for span in left] == ["chat scripted", "execute_tool read", "chat scripted"]
    (never_sent,) = {span["parent_id"] for span in left}
    assert never_sent not in {span["context"]["span_id"] for span in spans}
    new = spans[len(left) :]
    assert Counter(span["name"] for span in new) == {"execute_tool put": 1, "chat scripted": 1, "invoke_agent": 1}
    turn = new[-1]
    assert turn["name"] == "invoke_agent"
    assert turn["parent_id"] is None
    assert {span["context"]["trace_id"] for span in spans} == {turn["context"]["trace_id"]}, "all in one trace"
    (link,) = turn["links"]
    assert (link["context"]["trace_id"], link["context"]["span_id"]) == (turn["context"]["trace_id"], never_sent)
    assert {span["parent_id"] for span in new[:-1]} == {turn["context"]["span_id"]}
    put = next(span for span in new if span["name"] == "execute_tool put")
    assert put["attributes"]["gen_ai.tool.call.id"], "the resumed turn knows its calls, though another asked for them"


def test_ids_are_the_same_in_every_process() -> None:
    code = "import sys; from power_loop.sink.otel.ids import *; print(trace_id('', 's', 1), span_id('', 's', 1))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    assert done.stdout.split() == [str(trace_id("", "s", 1)), str(span_id("", "s", 1))]


async def test_ids_are_apart_in_every_namespace_and_session(traced: Traced) -> None:
    places = [(a, b, n) for a in ("", "x", "1:x") for b in ("s", "1", "xs", "s1", "half \ud83d") for n in (1, 11, 2)]
    assert len({trace_id(*place) for place in places}) == len(places)
    assert len({span_id(*place) for place in places}) == len(places)
    for namespace in ("", "staging"):
        await OpenTelemetrySink(traced.provider, namespace=namespace).record([began(), answered()])
    first, second = traced.spans()
    assert first.context.trace_id == trace_id("", "s", 1)
    assert (second.context.trace_id, second.context.span_id) == (
        trace_id("staging", "s", 1),
        span_id("staging", "s", 1),
    )


async def test_a_sampler_decides_for_all_turns_of_one_input_alike() -> None:
    traced = Traced(sampler=TraceIdRatioBased(0.5))
    sink = OpenTelemetrySink(traced.provider)
    sessions = [f"s{n}" for n in range(100)]
    for session in sessions:
        await sink.record([began(session=session), answered(session=session)])
        await sink.record([began(2, 1, session=session), answered(2, session=session)])
    sampled = Counter(said(span)["gen_ai.conversation.id"] for span in traced.spans())
    assert set(sampled.values()) == {2}
    assert 20 < len(sampled) < 80


async def test_spans_of_the_app_keep_ids_of_their_own(traced: Traced) -> None:
    """Also in the same scope, and the span somebody has current is no parent of a turn."""
    first, second = OpenTelemetrySink(traced.provider), OpenTelemetrySink(traced.provider, namespace="2")
    tracer = traced.provider.get_tracer(names.SCOPE)
    with tracer.start_as_current_span("app"):
        await first.record([began()])
        await second.record([began()])
        tracer.start_span("inner").end()
        await first.record([answered()])
        await second.record([answered()])
    app, inner, (one, two) = traced.one("app"), traced.one("inner"), traced.spans("invoke_agent")
    assert inner.parent is not None
    assert inner.parent.span_id == app.context.span_id
    assert one.parent is None
    assert two.parent is None
    assert len({span.context.span_id for span in (app, inner, one, two)}) == 4
    assert len({span.context.trace_id for span in (app, one, two)}) == 3


class Foreign(trace.Tracer):
    """Another's implementation of the API, whose ids are its own."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._inner = tracer

    def start_span(self, *what: Any, **how: Any) -> trace.Span:
        return self._inner.start_span(*what, **how)

    def start_as_current_span(self, *what: Any, **how: Any) -> Any:
        return self._inner.start_as_current_span(*what, **how)


class ForeignProvider(trace.TracerProvider):
    def __init__(self, provider: TracerProvider) -> None:
        self._inner = provider

    def get_tracer(self, *what: Any, **how: Any) -> trace.Tracer:
        return Foreign(self._inner.get_tracer(*what, **how))


async def test_a_tracer_of_another_make_still_has_one_trace_and_links(traced: Traced) -> None:
    sink = OpenTelemetrySink(ForeignProvider(traced.provider))
    await sink.record([began(), answered(), began(2, 1), answered(2)])
    first, second = traced.spans()
    assert first.context.trace_id == second.context.trace_id == trace_id("", "s", 1)
    (link,) = second.links
    assert first.parent is not None
    assert (link.context.trace_id, link.context.span_id) == (first.context.trace_id, first.parent.span_id)
