"""The turn everybody runs: user, answer with two parallel calls, two results, final answer. 5 messages, 1.2 KB.

Only the standard library: peers import this in environments of their own. Every text of a turn carries its number
(question `Q00000042`, calls `C00000042`, results `R00000042`), so that one can look on the disk for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

Message = dict[str, Any]

MESSAGES_A_TURN: Final = 5
MODEL: Final = "bench"
QUESTION: Final = "Compare the weather in Lisbon and in Oslo this week, and say where to walk on Saturday. " * 2
UNIT: Final = "degrees celsius"
ANSWER: Final = (
    "Lisbon is the better plan: 21 degrees, light wind from the west, no rain until Sunday night. Oslo has 4 degrees, "
    "sleet from noon on and gusts up to 60 km/h; if it must be Oslo, go before eleven and take the tram back."
)
CITIES: Final = ("Lisbon", "Oslo")
CALLS: Final = tuple(("forecast", json.dumps({"city": city, "days": 5, "unit": "celsius"})) for city in CITIES)
"""The calls of those who look for nothing on the disk (`bench.scale`): their tool takes a unit instead of a trip."""
ABOUT: Final = "The weather of the coming days in a city."
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": ABOUT,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "trip": {"type": "string"}},
            "required": ["city", "days", "trip"],
        },
    },
}
_TRIP: Final = "Trip Q"

entered = 0
"""How many tools have been entered in this process: whoever runs fewer than it should is caught by it."""
on_call: Callable[[str, str], None] | None = None
"""Hears of every tool that is entered: city and trip. Only `before_effect` listens."""
on_results: Callable[[int], None] | None = None
"""Hears of every request in process that carries the results of a turn: its number."""


def question(number: int) -> str:
    return f"{_TRIP}{number:08d}. {QUESTION}"


def number_in(text: str) -> int:
    """The number of the last question in a text."""
    at = text.rindex(_TRIP) + len(_TRIP)
    return int(text[at : at + 8])


def call_id(number: int, place: int) -> str:
    return f"call_{number:08d}_{place}"


def arguments(number: int) -> list[dict[str, Any]]:
    """What the two calls of an answer ask for."""
    return [{"city": city, "days": 5, "trip": f"C{number:08d}"} for city in CITIES]


def calls(number: int) -> list[tuple[str, str, str]]:
    """The two calls of an answer: id, name, arguments."""
    return [(call_id(number, place), "forecast", json.dumps(wanted)) for place, wanted in enumerate(arguments(number))]


def weather(city: str, trip: str = "C00000000") -> str:
    return f"R{trip[1:]} {city}: 21, wind from the west, dry; 20, calm, dry; 22, calm, haze in the morning; in {UNIT}"


async def forecast(city: str, days: int, trip: str) -> str:
    """The weather of the coming days in a city."""
    global entered
    entered += 1
    if on_call is not None:
        on_call(city, trip)
    return weather(city, trip)


async def called(arguments: str) -> str:
    """A call's result, for those who run their tools by hand."""
    return await forecast(**json.loads(arguments))


def after_results(last: str) -> bool:
    """Whether the last text of a request is a result; for models in process, which look at nothing else."""
    if not last.startswith("R"):
        return False
    if on_results is not None:
        on_results(int(last[1:9]))
    return True


def asks(number: int) -> Message:
    """The message that asks for the two calls."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": key, "type": "function", "function": {"name": name, "arguments": text}}
            for key, name, text in calls(number)
        ],
    }


def says() -> Message:
    """The message that ends a turn."""
    return {"role": "assistant", "content": ANSWER}


def user(number: int) -> Message:
    return {"role": "user", "content": question(number)}


def result(key: str, text: str) -> Message:
    return {"role": "tool", "content": text, "tool_call_id": key}


def completion(message: Message) -> bytes:
    """An answer as an endpoint sends it."""
    said = {"index": 0, "message": message, "finish_reason": _finish(message), "logprobs": None}
    return json.dumps({**_head("chat.completion"), "choices": [said], "usage": _USAGE}).encode()


def chunks(message: Message) -> bytes:
    """The same as a stream, in as few events as that can have."""
    head = _head("chat.completion.chunk")
    delta = dict(message)
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(delta["tool_calls"])]
    said = {"index": 0, "delta": delta, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": _finish(message)}
    events: list[Message] = [
        {**head, "choices": [said]},
        {**head, "choices": [ended]},
        {**head, "choices": [], "usage": _USAGE},
    ]
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


_USAGE: Final = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}


def _head(kind: str) -> Message:
    return {"id": "chatcmpl-bench", "object": kind, "created": 1_723_456_789, "model": MODEL}


def _finish(message: Message) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


def turn(number: int) -> list[Message]:
    """All five messages of a turn."""
    results = [result(call_id(number, place), weather(city, f"C{number:08d}")) for place, city in enumerate(CITIES)]
    return [user(number), asks(number), *results, says()]


def history(messages: int) -> list[Message]:
    """What a session of so many messages holds; whole turns."""
    return [message for number in range(-(-messages // MESSAGES_A_TURN)) for message in turn(number)]


def text_of(message: Message) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
