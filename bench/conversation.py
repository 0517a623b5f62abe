"""The turn everybody runs: user, answer with two parallel calls, two results, final answer. 5 messages, 1.2 KB."""

from __future__ import annotations

import json
from typing import Any, Final

from llm_client.messages import AssistantMessage, ToolCall
from llm_client.service import Answer, ChatRequest, StreamEvent, Usage
from power_loop import Tool, tool

MESSAGES_A_TURN: Final = 5
MODEL: Final = "bench"
QUESTION: Final = "Compare the weather in Lisbon and in Oslo this week, and say where to walk on Saturday. " * 2
UNIT: Final = "degrees celsius"
ANSWER: Final = (
    "Lisbon is the better plan: 21 degrees, light wind from the west, no rain until Sunday night. Oslo has 4 degrees, "
    "sleet from noon on and gusts up to 60 km/h; if it must be Oslo, go before eleven and take the tram back."
)
CALLS: Final = (
    ("forecast", '{"city": "Lisbon", "days": 5, "unit": "celsius"}'),
    ("forecast", '{"city": "Oslo", "days": 5, "unit": "celsius"}'),
)


@tool(effect="read", parallel=True)
async def forecast(city: str, days: int, unit: str) -> str:
    """The weather of the coming days in a city."""
    return weather(city)


def weather(city: str) -> str:
    return f"{city}: 21, light wind from the west, dry; 20, calm, dry; 22, calm, some haze in the morning; in {UNIT} "


def tools() -> list[Tool]:
    return [forecast]


def question(number: int) -> str:
    return f"{number}. {QUESTION}"


USAGE: Final = Usage(prompt_tokens=40, completion_tokens=60)
ASKS: Final = Answer(
    message=AssistantMessage(
        tool_calls=tuple(ToolCall(id=f"call_{n}", name=name, arguments=text) for n, (name, text) in enumerate(CALLS))
    ),
    finish_reason="tool_calls",
    usage=USAGE,
    model=MODEL,
)
SAYS: Final = Answer(message=AssistantMessage(content=ANSWER), finish_reason="stop", usage=USAGE, model=MODEL)


class InProcessModel:
    """An `LLMService` that costs nothing: it looks at the last message alone."""

    model = MODEL
    replay_reasoning = False

    async def complete(self, request: ChatRequest) -> Answer:
        return SAYS if request.messages[-1].startswith('{"role":"tool"') else ASKS

    async def stream(self, request: ChatRequest) -> Any:
        events: list[StreamEvent] = [await self.complete(request)]
        for event in events:
            yield event

    async def aclose(self) -> None:
        return None


def body_of(answer: Answer) -> bytes:
    """The answer as an endpoint sends it."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.message.content}
    if answer.message.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.message.tool_calls
        ]
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100},
        }
    ).encode()


def stored_turn(number: int) -> list[str]:
    """The five messages as JSON texts, for those who store them by hand."""
    results = [weather(json.loads(text)["city"]) for _, text in CALLS]
    asked = json.loads(body_of(ASKS))["choices"][0]["message"]
    messages = [
        {"role": "user", "content": question(number)},
        asked,
        *({"role": "tool", "content": text, "tool_call_id": f"call_{n}"} for n, text in enumerate(results)),
        {"role": "assistant", "content": ANSWER},
    ]
    return [json.dumps(message, separators=(",", ":")) for message in messages]
