"""`stream`: the events of a turn in their order, then its result."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import AttemptVoided, ReasoningDelta, TextDelta, ToolCallDelta
from power_loop import JsonlSink, ModelError, SessionState, StatefulResult, Status, tool
from power_loop.engine import facts as f
from power_loop.engine.facts import Fact
from power_loop.errors import InputInvalidError
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import FOREVER, dump, open_loop, service, until_true


@tool(effect="read")
async def look(n: int = 0) -> str:
    """Looks."""
    return f"saw {n}"


@tool
async def write() -> str:
    """Writes."""
    return "written"


async def heard(stream: Any, events: list[Any] | None = None) -> list[Any]:
    """What a stream tells; in `events` also if it ends with an error."""
    events = [] if events is None else events
    async for event in stream:
        events.append(event)
    return events


def facts(events: Sequence[Any]) -> list[type[Fact]]:
    return [type(event) for event in events if isinstance(event, Fact)]


SCRIPT: list[Any] = [calls(("look", {"n": 1}), ("look", {"n": 2}), ("write", {}), text="let me see"), "all done"]


@pytest.mark.acceptance("G2")
async def test_facts_come_in_their_order_and_the_result_last(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT, tools=[look, write]) as loop:
        events = await heard(loop.stream("go"))
        assert facts(events) == [
            f.TurnBegan,
            f.CallsRequested,
            f.CallsStarted,
            f.CallSettled,
            f.CallSettled,
            f.CallsStarted,
            f.CallSettled,
            f.RoundClosed,
            f.AnswerReceived,
        ]
        started = [key for event in events if isinstance(event, f.CallsStarted) for key in event.calls]
        settled = [event.key for event in events if isinstance(event, f.CallSettled)]
        assert sorted(started) == sorted(settled)
        assert isinstance(events[-1], StatefulResult)
        assert events[-1].final_text == "all done"
        assert sum(isinstance(event, StatefulResult) for event in events) == 1
        assert {event.session for event in events if isinstance(event, Fact)} == {events[-1].session_id}


@pytest.mark.acceptance("G2")
async def test_a_fact_goes_out_once_it_is_on_disk(tmp_path: Path) -> None:
    seen = []
    async with open_loop(tmp_path, SCRIPT, tools=[look, write]) as loop:
        async for event in loop.stream("go"):
            rows = dump(tmp_path)
            match event:
                case f.TurnBegan():
                    seen.append(len(rows["turns"]) == 1 and len(rows["messages"]) == 1)
                case f.CallSettled(message=message):
                    seen.append(any(message.body in row for row in rows["messages"]))
                case f.CallsRequested(calls=wanted):
                    seen.append(len(rows["calls"]) == len(wanted))
                case f.AnswerReceived(message=message):
                    seen.append(any(message.body in row for row in rows["messages"]))
    assert seen == [True] * 6


@pytest.mark.usefixtures("transport")
async def test_deltas_add_up_to_what_was_said(tmp_path: Path, server: ScriptedServer) -> None:
    answer = "a long answer in many pieces " * 5
    server.use([Reply(text="let me see", calls=Reply.calling(("look", {"n": 7})).calls, reasoning="hm " * 9), answer])
    async with open_loop(tmp_path, service(server), tools=[look]) as loop:
        events = await heard(loop.stream("go"))
    requested = next(at for at, event in enumerate(events) if isinstance(event, f.CallsRequested))
    first, second = events[:requested], events[requested:]
    assert "".join(event.text for event in first if isinstance(event, TextDelta)) == "let me see"
    assert "".join(event.text for event in first if isinstance(event, ReasoningDelta)) == "hm " * 9
    arguments = "".join(event.arguments for event in first if isinstance(event, ToolCallDelta))
    assert json.loads(arguments) == {"n": 7}
    pieces = [event.text for event in second if isinstance(event, TextDelta)]
    assert "".join(pieces) == answer
    assert len(pieces) > 3


@pytest.mark.usefixtures("transport")
async def test_what_a_failed_attempt_said_is_taken_back(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply.says("the whole answer, in pieces").with_fault("disconnect", after=2, times=1)])
    async with open_loop(tmp_path, service(server)) as loop:
        events = await heard(loop.stream("go"))
    voided = [at for at, event in enumerate(events) if isinstance(event, AttemptVoided)]
    assert len(voided) == 1
    after = [event.text for event in events[voided[0] :] if isinstance(event, TextDelta)]
    assert "".join(after) == "the whole answer, in pieces"
    assert facts(events) == [f.TurnBegan, f.AnswerReceived]


async def test_a_failure_is_an_event_and_leaves_the_iterator(tmp_path: Path) -> None:
    events: list[Any] = []
    async with open_loop(tmp_path, [ModelError("no")]) as loop:
        with pytest.raises(ModelError):
            await heard(loop.stream("go"), events)
        assert facts(events) == [f.TurnBegan, f.TurnFailed]


async def test_bad_input_is_refused_before_any_event(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["never"]) as loop:
        with pytest.raises(InputInvalidError):
            await anext(loop.stream(""))
        assert await loop.list_sessions() == []


async def test_the_stored_outcome_of_a_request_is_the_only_event(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["hello"]) as loop:
        await loop.create_session("s")
        result = await loop.send("hi", "s", request_id="r")
        assert await heard(loop.stream("hi", "s", request_id="r")) == [result]


@pytest.mark.acceptance("C6")
@pytest.mark.parametrize("leave", ["aclosing", "dropped", "cancelled"])
async def test_leaving_early_stops_the_turn_and_leaves_it_recoverable(tmp_path: Path, leave: str) -> None:
    entered = asyncio.Event()

    @tool
    async def hang() -> str:
        """Hangs."""
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [calls(("hang", {}), ("look", {})), "back"], tools=[hang, look]) as loop:
        await loop.create_session("s")

        async def leaves() -> None:
            stream: Any = loop.stream("go", "s")
            if leave == "aclosing":
                async with aclosing(stream):
                    async for event in stream:
                        if isinstance(event, f.CallsStarted):
                            return
            async for event in stream:
                if isinstance(event, f.CallsStarted) and leave == "dropped":
                    return

        leaving = asyncio.create_task(leaves())
        if leave == "cancelled":
            await asyncio.wait_for(entered.wait(), 10)
            leaving.cancel()
        await asyncio.wait([leaving])
        gc.collect()

        async def over() -> bool:
            return (await loop.get_session("s")).state is SessionState.STOPPED

        if leave == "dropped":
            await until_true(over)
        assert await over()
        (turn,) = await loop.get_turns("s")
        assert (turn.status, turn.stop_reason) == ("cancelled", "the caller was cancelled")
        assert [call.name for call in await loop.get_pending("s")] == ["hang", "look"]
        assert (await loop.resume("s")).final_text == "back"


async def test_a_slow_listener_holds_nothing_up(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT, tools=[look, write]) as loop:
        await loop.create_session("s")
        stream = loop.stream("go", "s")
        await anext(stream)

        async def over() -> bool:
            return (await loop.get_session("s")).state is SessionState.IDLE

        await until_true(over)
        rest = await heard(stream)
        assert rest[-1].status is Status.COMPLETED


class Recording:
    """A sink that keeps what it hears, and fails from a given fact on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.facts: list[Fact] = []
        self.records = 0
        self._fails_at = fails_at

    async def record(self, facts: Sequence[Fact]) -> None:
        self.records += 1
        if self._fails_at is not None and self.records > self._fails_at:
            raise RuntimeError("the sink is broken")
        self.facts += facts

    async def aclose(self) -> None:
        pass


@pytest.mark.acceptance("G3")
@pytest.mark.parametrize("fails_at", range(5))
async def test_a_sink_that_fails_changes_nothing(tmp_path: Path, fails_at: int) -> None:
    ran = []

    @tool
    async def once() -> str:
        """Runs once."""
        ran.append(1)
        return "ran"

    broken, sound = Recording(fails_at), Recording()
    async with open_loop(tmp_path, [calls(("once", {})), "done"], tools=[once], sinks=[broken, sound]) as loop:
        events = await heard(loop.stream("go"))
        assert events[-1].final_text == "done"
        assert ran == [1]
        # What the sound one heard is what the listener heard, and it heard all of it.
        assert [type(fact) for fact in sound.facts] == facts(events)
        assert broken.records == min(fails_at + 1, sound.records), "one that failed hears no more in this turn"


async def test_every_end_reaches_the_sinks(tmp_path: Path) -> None:
    """Also one that is no model's failure: the record of a turn is begun and ended in every sink."""
    sink = Recording()
    path = tmp_path / "facts.jsonl"
    stop = asyncio.Event()
    stop.set()
    other = InputInvalidError("the model", "is of another kind", "give one that is not")
    failing: list[Any] = [ModelError("no"), AssistantMessage(), AssistantMessage(), other]
    events: list[Any] = []
    async with open_loop(tmp_path, ScriptedLLM(failing), sinks=[sink, JsonlSink(path)]) as loop:
        await loop.create_session("s")
        for _ in range(2):
            with pytest.raises(ModelError):
                await loop.send("go", "s")
        with pytest.raises(InputInvalidError):
            await heard(loop.stream("go", "s"), events)
        await loop.send("go", "s", stop_event=stop)
        assert [turn.error_code for turn in await loop.get_turns("s")] == [
            "model.error",
            "model.output_invalid",
            "input.invalid",
            None,
        ]
    assert facts(events) == [f.TurnBegan, f.TurnFailed]
    ends = (f.AnswerReceived, f.TurnFailed, f.TurnCancelled, f.TurnParked)
    assert [fact.turn for fact in sink.facts if isinstance(fact, f.TurnBegan)] == [1, 2, 3, 4]
    assert [fact.turn for fact in sink.facts if isinstance(fact, ends)] == [1, 2, 3, 4]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["fact"] for line in lines] == [type(fact).__name__ for fact in sink.facts]
