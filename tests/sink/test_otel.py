"""Turns as OpenTelemetry spans, read back from the SDK's own exporter; also over the death of a process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from llm_client.scripted import calls
from llm_client.service import Usage
from power_loop import OpenTelemetrySink, tool
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.testing import ManualClock
from power_loop.testing.conformance.every_fact import every_fact
from power_loop.values import SessionId, World
from tests.loop.kit import open_loop
from tests.sink.kit import Listening, conversation
from tests.sink.test_logging import NOVEL
from tests.sink.tracing import REQUESTED, S, Traced, answered, asked, began, said, settled, started
from tests.store.kit import ROOT, child, says


@pytest.fixture
def traced() -> Traced:
    return Traced()


async def test_a_turn_is_a_tree_of_spans_in_the_words_of_the_conventions(tmp_path: Path, traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider, agent="clerk", provider="acme")
    await conversation(tmp_path / "a.db", [sink], turns=1)
    turn, tool_run, (first, second) = traced.one("invoke_agent"), traced.one("execute_tool"), traced.spans("chat")
    assert len(traced.spans()) == 4
    assert turn.parent is None
    assert turn.name == "invoke_agent clerk"
    assert [span.parent and span.parent.span_id for span in (first, second, tool_run)] == [turn.context.span_id] * 3
    assert {span.context.trace_id for span in traced.spans()} == {turn.context.trace_id}
    assert [span.kind for span in (turn, first, tool_run)] == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.INTERNAL]
    assert {span.status.status_code for span in traced.spans()} == {StatusCode.UNSET}
    for span in traced.spans():
        assert said(span)["gen_ai.provider.name"] == "acme"
        assert said(span)["gen_ai.conversation.id"] == "s"
        assert span.name.startswith(said(span)["gen_ai.operation.name"])
    assert (first.name, said(first)["gen_ai.request.model"], said(first)["gen_ai.response.model"]) == (
        "chat scripted", "scripted", "scripted",
    )  # fmt: skip
    spent = [
        (said(span)["gen_ai.usage.input_tokens"], said(span)["gen_ai.usage.output_tokens"]) for span in (first, second)
    ]
    assert said(turn)["gen_ai.usage.input_tokens"] == sum(pair[0] for pair in spent)
    assert said(turn)["gen_ai.usage.output_tokens"] == sum(pair[1] for pair in spent)
    assert said(second)["gen_ai.response.finish_reasons"] == ("stop",)
    assert tool_run.name == "execute_tool work"
    assert (said(tool_run)["gen_ai.tool.name"], said(tool_run)["gen_ai.tool.type"]) == ("work", "function")
    assert said(tool_run)["gen_ai.tool.call.id"]
    assert said(tool_run)["power_loop.call.state"] == "succeeded"
    assert (said(turn)["power_loop.turn"], said(turn)["power_loop.origin"]) == (1, 1)
    assert said(turn)["power_loop.status"] == "completed"
    assert not turn.links
    everything = " ".join(span.to_json() for span in traced.spans())
    for spoken in ("go 0", "part 0", "finished 0"):
        assert spoken not in everything, "what was said is in no span"


async def test_spans_begin_and_end_when_it_happened(traced: Traced) -> None:
    clock = ManualClock()
    sink = OpenTelemetrySink(traced.provider, world=World(now=clock.now))

    def at(seconds: float) -> int:
        return round((clock.now() + timedelta(seconds=seconds)).timestamp() * 1e9)

    zero = at(0)
    message = f.NewMessage(seq=2, role="assistant", body="{}")
    usage = Usage(prompt_tokens=100, completion_tokens=20, cached_tokens=60, reasoning_tokens=5)
    await sink.record([began()])
    clock.advance(10)
    await sink.record([
        f.CallsRequested(
            session=S, turn=1, round=1, message=message, model_call=asked(milliseconds=1500, usage=usage, cost=0.25),
            calls=(REQUESTED,),
        ),
        started(),
    ])  # fmt: skip
    clock.advance(5)
    await sink.record([settled(CallState.SUCCEEDED)])
    clock.advance(5)
    paid = (asked(purpose="summary", milliseconds=2000), asked(purpose="summary", milliseconds=1000))
    await sink.record([
        f.HistoryCompacted(
            session=S, turn=1, folded=(1, 2), notes=(message,), strategy="summary", before_tokens=900,
            after_tokens=90, window=1000, model_calls=paid,
        )
    ])  # fmt: skip
    await sink.record([answered()])

    def when(span: ReadableSpan) -> tuple[float, float]:
        assert span.start_time is not None
        assert span.end_time is not None
        return (span.start_time - zero) / 1e9, (span.end_time - zero) / 1e9

    chats = traced.spans("chat")
    assert sorted(map(when, chats)) == [(8.5, 10), (17, 19), (19, 20)]
    assert when(traced.one("execute_tool")) == (10, 15)
    turn = traced.one("invoke_agent")
    assert when(turn) == (0, 20)
    answer = next(span for span in chats if said(span)["power_loop.purpose"] == "answer")
    assert said(answer)["gen_ai.usage.cache_read.input_tokens"] == 60
    assert said(answer)["gen_ai.usage.reasoning.output_tokens"] == 5
    assert said(answer)["power_loop.cost"] == 0.25
    (event,) = turn.events
    assert event.name == "power_loop.HistoryCompacted"
    assert event.attributes is not None
    assert (event.attributes["power_loop.before_tokens"], event.attributes["power_loop.after_tokens"]) == (900, 90)


@pytest.mark.parametrize("state", [CallState.FAILED, CallState.TIMED_OUT])
async def test_a_tool_that_fails_is_an_error_in_its_own_span(traced: Traced, state: CallState) -> None:
    sink = OpenTelemetrySink(traced.provider)
    await sink.record([began(open_calls=(REQUESTED,)), started(), settled(state), answered()])
    run = traced.one("execute_tool work")
    assert run.status.status_code is StatusCode.ERROR
    assert said(run)["error.type"] == state.value
    assert traced.one("invoke_agent").status.status_code is StatusCode.UNSET


async def test_a_call_that_never_ran_is_an_event_and_no_span(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider)
    await sink.record([began(open_calls=(REQUESTED,)), settled(CallState.FAILED, SettledBy.GATE), answered()])
    assert traced.spans("execute_tool") == []
    (event,) = traced.one("invoke_agent").events
    assert event.attributes is not None
    assert event.attributes["power_loop.settled_by"] == "gate"
    assert event.attributes["gen_ai.tool.name"] == "work"


async def test_a_call_whose_turn_ends_while_it_runs_is_in_doubt(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider)
    await sink.record([began(open_calls=(REQUESTED,)), started(), answered()])
    run, turn = traced.spans()
    assert said(run)["error.type"] == "power_loop.in_doubt"
    assert run.status.status_code is StatusCode.ERROR
    assert said(turn)["power_loop.status"] == "cancelled"
    assert said(turn)["power_loop.stop_reason"] == "enough"


async def test_what_never_ended_is_ended_when_another_turn_begins_and_when_the_sink_is_closed(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider)
    await sink.record([began(1), began(1, session="t")])
    await sink.record([began(2, origin=1)])
    (superseded,) = traced.spans()
    assert said(superseded)["error.type"] == "power_loop.end_unknown"
    assert said(superseded)["power_loop.turn"] == 1
    await sink.record([answered(1)])  # late, of a turn that is over
    await sink.aclose()
    assert len(traced.spans()) == 3
    await sink.record([began(3)])
    await sink.aclose()
    assert len(traced.spans()) == 3


async def test_it_holds_no_more_turns_than_it_may(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider, open_turns=3)
    for n in range(10):
        await sink.record([began(session=f"s{n}")])
        assert len(sink._spans) == min(n + 1, 3)
    assert [said(span)["gen_ai.conversation.id"] for span in traced.spans()] == [f"s{n}" for n in range(7)]
    for n in range(7, 10):
        await sink.record([answered(session=f"s{n}")])
    assert len(sink._spans) == 0


async def test_every_kind_of_fact_is_taken(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider)
    for number, fact in enumerate(every_fact(text="half \ud83d" + "x" * 10_000)):
        session = f"s{number}"
        if not isinstance(fact, f.TurnBegan):
            await sink.record([began(fact.turn, session=session)])
        await sink.record([type(fact)(**{**_fields(fact), "session": SessionId(session)})])
    await sink.aclose()
    for span in traced.spans():
        assert all(len(value) <= 200 for value in said(span).values() if isinstance(value, str))
        assert span.to_json().encode()


def _fields(fact: f.Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in type(fact).__dataclass_fields__}


async def test_a_kind_of_fact_nobody_knows_is_an_event_of_its_turn(traced: Traced) -> None:
    sink = OpenTelemetrySink(traced.provider)
    await sink.record([began(), NOVEL, answered()])
    (event,) = traced.one("invoke_agent").events
    assert event.name == "power_loop.Novel"
    assert event.attributes == {
        "power_loop.verdict": "nudge",
        "power_loop.count": 3,
        "power_loop.key": "4.1",
        "power_loop.effect": "read",
    }


async def test_turns_at_once_do_not_mix(tmp_path: Path, traced: Traced) -> None:
    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        await asyncio.sleep(0.01)
        return "seen"

    def model(request: Any) -> Any:
        return "done" if json.loads(request.messages[-1])["role"] == "tool" else calls(("look", {}))

    sinks = [OpenTelemetrySink(traced.provider)]
    async with open_loop(tmp_path, [model] * 40, tools=[look], sinks=sinks) as loop:
        await asyncio.gather(*(loop.send("go") for _ in range(20)))
    turns = traced.spans("invoke_agent")
    assert len({span.context.trace_id for span in turns}) == 20
    for turn in turns:
        inside = [span for span in traced.spans() if span.parent and span.parent.span_id == turn.context.span_id]
        assert sorted(span.name for span in inside) == ["chat scripted", "chat scripted", "execute_tool look"]
        assert {said(span)["gen_ai.conversation.id"] for span in inside} == {said(turn)["gen_ai.conversation.id"]}
        assert {span.context.trace_id for span in inside} == {turn.context.trace_id}


async def test_without_a_provider_nothing_is_traced_and_nothing_fails(tmp_path: Path) -> None:
    listening = Listening()
    await conversation(tmp_path / "a.db", [OpenTelemetrySink(), listening], turns=1)
    assert len(listening.facts) == 6


GLOBAL = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
sink = OpenTelemetrySink()
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
async def main():
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=sys.argv[1], sinks=[sink]) as loop:
        await loop.send("hi")
    print(*(span.name for span in exporter.get_finished_spans()), flush=True)
asyncio.run(main())
"""


async def test_the_global_provider_may_be_set_after_the_sink_was_built(tmp_path: Path) -> None:
    with child(GLOBAL, tmp_path / "a.db") as process:
        says(process, "chat scripted invoke_agent")


def test_without_the_package_a_sink_says_what_to_install_and_all_else_works() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import power_loop, power_loop.sink\n"
        "from power_loop import *\n"
        "try:\n"
        "    OpenTelemetrySink()\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "pip install 'power-loop[otel]'" in done.stdout


def test_importing_sinks_does_not_import_opentelemetry() -> None:
    code = (
        "import sys, power_loop.sink\n"
        "from power_loop import *\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
