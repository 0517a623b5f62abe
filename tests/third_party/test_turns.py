"""Whole turns against a model server that this project did not write: streamed calls, a 429, a cut stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from llm_client.errors import ModelRateLimitedError
from llm_client.service import AttemptVoided, TextDelta
from power_loop import OpenAIChatService, SessionState, StatefulAgentLoop, StatefulResult, Status, tool
from power_loop.engine.facts import CallsStarted
from power_loop.events import Event
from tests.llmock_server import LLMock

pytestmark = [pytest.mark.acceptance("F5"), pytest.mark.usefixtures("transport")]


@tool(effect="read")
async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 C in {city}"


@pytest.fixture(scope="module")
def llmock(pytestconfig: pytest.Config) -> Iterator[LLMock]:
    cache = pytestconfig.cache
    assert cache is not None
    with LLMock.running(cache.mkdir("llmock")) as server:
        yield server


@pytest.fixture
async def loop(llmock: LLMock, tmp_path: Path) -> AsyncIterator[StatefulAgentLoop]:
    llm = OpenAIChatService(model="gpt-4o", base_url=llmock.url, api_key="sk-test", attempts=2, backoff=0.01)
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[get_weather]) as loop:
        yield loop


async def streamed(loop: StatefulAgentLoop, text: str) -> tuple[list[Event], StatefulResult]:
    events: list[Event] = []
    async with aclosing(loop.stream(text)) as stream:
        async for event in stream:
            if isinstance(event, StatefulResult):
                return events, event
            events.append(event)
    raise AssertionError("a stream ends with its result")


def calling(*cities: str) -> dict[str, object]:
    return {"type": "reply", "tool_calls": [{"name": "get_weather", "arguments": {"city": city}} for city in cities]}


async def test_a_streamed_turn_with_tool_calls(llmock: LLMock, loop: StatefulAgentLoop) -> None:
    llmock.script(calling("Paris", "Rome"), {"type": "reply", "text": "Warm in both."})
    events, result = await streamed(loop, "How is the weather?")
    assert (result.status, result.final_text, result.rounds) == (Status.COMPLETED, "Warm in both.", 2)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Warm in both."
    assert [len(event.calls) for event in events if isinstance(event, CallsStarted)] == [2]
    shown = [(m.role, m.text) for m in await loop.get_messages(result.session_id)]
    assert shown[2:4] == [("tool", "21 C in Paris"), ("tool", "21 C in Rome")]
    assert result.usage.prompt_tokens > 0


async def test_a_429_inside_a_turn_is_waited_out(llmock: LLMock, loop: StatefulAgentLoop) -> None:
    limited = {"type": "fail", "status": 429, "retry_after": 0.2}
    llmock.script(calling("Paris"), limited, {"type": "reply", "text": "Warm."})
    events, result = await streamed(loop, "How is the weather?")
    assert result.final_text == "Warm."
    assert [event.attempt for event in events if isinstance(event, AttemptVoided)] == [1]
    assert len(llmock.requests()) == 3
    assert llmock.verdict()["findings"] == []


async def test_a_stream_cut_in_the_middle_is_no_answer(llmock: LLMock, loop: StatefulAgentLoop) -> None:
    cut = {"type": "stream_fault", "kind": "truncate", "after_chunks": 2}
    llmock.script(cut, {"type": "reply", "text": "one two three four five six", "times": 2})
    events, result = await streamed(loop, "Count.")
    assert result.final_text == "one two three four five six"
    assert sum(isinstance(event, AttemptVoided) for event in events) == 1
    assert [m.role for m in await loop.get_messages(result.session_id)] == ["user", "assistant"]


async def test_after_a_lasting_429_the_input_stays_and_resume_asks_again(
    llmock: LLMock, loop: StatefulAgentLoop
) -> None:
    limited = {"type": "fail", "status": 429, "retry_after": 0.05, "times": 2}
    llmock.script(limited, {"type": "reply", "text": "At last."})
    session = await loop.create_session()
    with pytest.raises(ModelRateLimitedError):
        await loop.send("Hello?", session)
    assert (await loop.get_session(session)).state is SessionState.FAILED
    result = await loop.resume(session)
    assert (result.status, result.final_text) == (Status.COMPLETED, "At last.")
    assert [m.role for m in await loop.get_messages(session)] == ["user", "assistant"]
