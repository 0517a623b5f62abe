"""The model that answers from a list, in process."""

from __future__ import annotations

import asyncio
import json

import pytest

from llm_client import (
    AssistantMessage,
    ChatRequest,
    LLMService,
    ModelError,
    PowerLoopError,
    ScriptedLLM,
    ToolCall,
    Usage,
)
from llm_client.errors import ModelServerError
from llm_client.scripted import ScriptEndedError, calls, says
from llm_client.service import Answer, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta

ASK = ChatRequest(messages=(json.dumps({"role": "user", "content": "hi"}),))


async def streamed(model: LLMService) -> list[StreamEvent]:
    return [event async for event in model.stream(ASK)]


async def test_it_says_every_kind_of_item_in_order_and_records_what_it_was_asked() -> None:
    whole = Answer(message=says("whole"), finish_reason="length", usage=None, model="x")
    call = ToolCall(id="a", name="one", arguments="{}")

    async def later(request: ChatRequest) -> AssistantMessage:
        await asyncio.sleep(0)
        return says(f"{len(request.messages)} messages")

    model = ScriptedLLM(["text", says("message"), [call, call], call, whole, lambda request: "function", later])
    answers = [await model.complete(ASK) for _ in range(7)]
    assert [answer.message.text for answer in answers] == ["text", "message", "", "", "whole", "function", "1 messages"]
    assert [answer.finish_reason for answer in answers[:5]] == ["stop", "stop", "tool_calls", "tool_calls", "length"]
    assert answers[2].message.tool_calls == (call, call)
    assert answers[4] is whole
    assert model.requests == [ASK] * 7
    assert model.left == 0


async def test_an_ended_script_is_a_clear_error_of_the_tree() -> None:
    model = ScriptedLLM(["one"])
    await model.complete(ASK)
    with pytest.raises(ScriptEndedError, match="script of 1 answers is used up, and request 2") as caught:
        await streamed(model)
    assert isinstance(caught.value, ModelError | PowerLoopError)
    model.add("two")
    assert (await model.complete(ASK)).message.text == "two"


async def test_errors_are_raised_and_used_up() -> None:
    model = ScriptedLLM([ModelServerError("down"), lambda request: ModelServerError("still"), "up"])
    with pytest.raises(ModelServerError, match="down"):
        await model.complete(ASK)
    with pytest.raises(ModelServerError, match="still"):
        await streamed(model)
    assert (await model.complete(ASK)).message.text == "up"


async def test_a_stream_comes_in_pieces_and_ends_with_the_answer() -> None:
    message = calls(("one", {"a": 1}), ("two", "{broken"), text="words first")
    message = message.model_copy(update={"provider": {"reasoning_content": "hm hm"}})
    *deltas, answer = await streamed(ScriptedLLM([message], piece=3))
    assert isinstance(answer, Answer)
    assert answer.message == message
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "words first"
    assert "".join(d.text for d in deltas if isinstance(d, ReasoningDelta)) == "hm hm"
    pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    for number, call in enumerate(message.tool_calls):
        mine = [piece for piece in pieces if piece.index == number]
        assert "".join(piece.arguments for piece in mine) == call.arguments
        assert [(piece.id, piece.name) for piece in mine] == [(call.id, call.name), *[(None, None)] * (len(mine) - 1)]


async def test_the_bill_is_counted_or_given() -> None:
    assert (await ScriptedLLM(["12345678"]).complete(ASK)).usage == Usage(
        prompt_tokens=len(ASK.messages[0]) // 4, completion_tokens=2
    )
    given = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)
    assert (await ScriptedLLM(["x"], usage=given).complete(ASK)).usage is given
    assert (await ScriptedLLM(["x"], usage=lambda request, message: None).complete(ASK)).usage is None
    assert given.total_tokens == 10
