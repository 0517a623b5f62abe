"""F5: against a model server that this project did not write, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llm_client import OpenAIChatService
from llm_client.errors import ContextOverflowError, ModelRequestError, StreamCutError
from llm_client.messages import AssistantMessage, ToolMessage, UserMessage, wire
from llm_client.service import Answer, AttemptVoided, ChatRequest, StreamEvent, TextDelta, ToolCallDelta
from tests.llmock_server import LLMock

pytestmark = [pytest.mark.acceptance("F5"), pytest.mark.usefixtures("transport")]

WEATHER = json.dumps(
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
)
QUESTION = wire(UserMessage(content="What is the weather in Paris?"))


@pytest.fixture(scope="session")
def llmock(pytestconfig: pytest.Config) -> Iterator[LLMock]:
    cache = pytestconfig.cache
    assert cache is not None
    with LLMock.running(cache.mkdir("llmock")) as server:
        yield server


@pytest.fixture
async def client(llmock: LLMock) -> AsyncIterator[OpenAIChatService]:
    service = OpenAIChatService(model="gpt-4o", base_url=llmock.url, api_key="sk-test", attempts=3, backoff=0.05)
    yield service
    await service.aclose()


async def collected(client: OpenAIChatService, request: ChatRequest) -> tuple[list[StreamEvent], Answer]:
    *deltas, answer = [event async for event in client.stream(request)]
    assert isinstance(answer, Answer)
    return deltas, answer


def texts(deltas: list[StreamEvent]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_a_streamed_turn_with_tool_calls(llmock: LLMock, client: OpenAIChatService) -> None:
    wanted = [
        {"name": "get_weather", "arguments": {"city": "Paris"}},
        {"name": "get_weather", "arguments": {"city": "Rome"}},
    ]
    llmock.script({"type": "reply", "tool_calls": wanted}, {"type": "reply", "text": "Sunny in both."})

    deltas, first = await collected(client, ChatRequest(messages=(QUESTION,), tools=(WEATHER,)))
    calls = first.message.tool_calls
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [(w["name"], w["arguments"]) for w in wanted]
    assert len({call.id for call in calls}) == 2
    assert first.finish_reason == "tool_calls"
    assert {delta.index for delta in deltas if isinstance(delta, ToolCallDelta)} == {0, 1}
    assert first.usage is not None
    assert first.usage.prompt_tokens > 0

    results = tuple(wire(ToolMessage(content="21 C", tool_call_id=call.id)) for call in calls)
    history = (QUESTION, wire(first.message), *results)
    deltas, second = await collected(client, ChatRequest(messages=history, tools=(WEATHER,)))
    assert second.message == AssistantMessage(content="Sunny in both.")
    assert texts(deltas) == "Sunny in both."
    assert second.finish_reason == "stop"


async def test_a_429_with_retry_after_is_waited_out(llmock: LLMock, client: OpenAIChatService) -> None:
    llmock.script({"type": "fail", "status": 429, "retry_after": 0.5}, {"type": "reply", "text": "at last"})
    deltas, answer = await collected(client, ChatRequest(messages=(QUESTION,)))
    assert answer.message.text == "at last"
    voided = [delta for delta in deltas if isinstance(delta, AttemptVoided)]
    assert [delta.attempt for delta in voided] == [1]
    assert voided[0].retry_in >= 0.5
    assert len(llmock.requests()) == 2
    assert llmock.verdict()["findings"] == []


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_cut_in_the_middle_is_asked_for_again(
    llmock: LLMock, client: OpenAIChatService, kind: str
) -> None:
    cut: dict[str, Any] = {"type": "stream_fault", "kind": kind, "after_chunks": 3}
    reply = {"type": "reply", "text": "one two three four five six seven eight", "times": 2}
    llmock.script(cut, reply)
    deltas, answer = await collected(client, ChatRequest(messages=(QUESTION,)))
    assert answer.message.text == reply["text"]
    voided = [number for number, delta in enumerate(deltas) if isinstance(delta, AttemptVoided)]
    assert len(voided) == 1
    assert texts(deltas[: voided[0]]) != ""
    assert texts(deltas[voided[0] :]) == reply["text"]
    assert len(llmock.requests()) == 2


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_is_always_cut_is_an_error(llmock: LLMock, client: OpenAIChatService, kind: str) -> None:
    llmock.script({"type": "stream_fault", "kind": kind, "after_chunks": 2, "times": None})
    with pytest.raises(StreamCutError):
        await collected(client, ChatRequest(messages=(QUESTION,)))
    assert len(llmock.requests()) == 3


async def test_refusals_are_asked_once_and_typed(llmock: LLMock, client: OpenAIChatService) -> None:
    llmock.script({"type": "fail", "status": 400, "message": "bad", "times": None})
    with pytest.raises(ModelRequestError, match="bad"):
        await client.complete(ChatRequest(messages=(QUESTION,)))
    assert len(llmock.requests()) == 1
    llmock.script({"type": "fail", "status": 400, "code": "context_length_exceeded"})
    with pytest.raises(ContextOverflowError):
        await client.complete(ChatRequest(messages=(QUESTION,)))


async def test_it_finds_nothing_wrong_with_the_client(llmock: LLMock, client: OpenAIChatService) -> None:
    llmock.script(
        {"type": "fail", "status": 503},
        {"type": "stream_fault", "kind": "truncate", "after_chunks": 2},
        {"type": "reply", "text": "good and long enough", "times": 2},
    )
    _, answer = await collected(client, ChatRequest(messages=(QUESTION,)))
    assert answer.message.text == "good and long enough"
    verdict = llmock.verdict()
    assert verdict["faults_injected"] == 2
    assert verdict["findings"] == []
