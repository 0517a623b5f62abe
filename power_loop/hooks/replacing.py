"""What a replacement makes of a view; it is refused where the turn could not go on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from llm_client.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from llm_client.service import ChatRequest
from power_loop.errors import InputInvalidError
from power_loop.hooks import views as v
from power_loop.hooks.verdicts import ReplaceArguments, ReplaceRequest, ReplaceText
from power_loop.transcript.rules import violations
from power_loop.values import storable

V = TypeVar("V", bound=v.View)


def nothing(view: V, verdict: object) -> V:
    raise ValueError("nothing can be replaced here")


def recalled(view: v.MemoryRecall, verdict: object) -> v.MemoryRecall:
    return replace(view, recalled=_something(_text(verdict), "a note"))


def request(view: v.ModelRequest, verdict: object) -> v.ModelRequest:
    assert isinstance(verdict, ReplaceRequest)
    _sendable(verdict.request)
    return replace(view, request=verdict.request)


def answer(view: v.ModelAnswer, verdict: object) -> v.ModelAnswer:
    text = _text(verdict)
    return replace(view, text=text if view.calls else _something(text, "an answer without calls"))


def arguments(view: v.CallStart, verdict: object) -> v.CallStart:
    assert isinstance(verdict, ReplaceArguments)
    return replace(view, arguments=verdict.text)


def result(view: v.CallEnd, verdict: object) -> v.CallEnd:
    return replace(view, result=_text(verdict))


def error(view: v.CallError, verdict: object) -> v.CallError:
    return replace(view, error=_text(verdict))


def message(view: v.MessageAppend, verdict: object) -> v.MessageAppend:
    text = _text(verdict)
    # An answer that is nothing but calls has no text, and a result may be empty.
    return replace(view, text=text if view.role == "tool" or not view.text else _something(text, "a message"))


def _text(verdict: object) -> str:
    assert isinstance(verdict, ReplaceText)
    return verdict.text


def _something(text: str, what: str) -> str:
    if not text.strip():
        raise ValueError(f"{what} has to say something")
    return text


def _sendable(request: ChatRequest) -> None:
    """Raises `ValueError` if an endpoint would refuse the history: a guard's slip must not pass for the model's."""
    if not request.messages:
        raise ValueError("the request has no messages")
    broken = violations(_messages(request.messages))
    if broken:
        raise ValueError(f"the request breaks the rules for histories: {'; '.join(broken[:3])}")
    for text in request.tools:
        if not isinstance(_parsed(text), dict):
            raise ValueError("a text among the request's tools is no JSON object")


def _messages(texts: tuple[str, ...]) -> Iterator[Message]:
    """As much of each message as the rules speak of; whatever an endpoint added to it is no fault."""
    for text in texts:
        body = _parsed(text)
        match body:
            case {"role": "assistant", "tool_calls": [*calls]}:
                try:
                    ids = [call["id"] for call in calls]
                    yield AssistantMessage(
                        tool_calls=tuple(ToolCall(id=call_id, name="", arguments="") for call_id in ids)
                    )
                except (KeyError, TypeError, ValueError):
                    raise ValueError("a call among the request's messages has no id") from None
            case {"role": "tool", "tool_call_id": str(call_id)}:
                yield ToolMessage(content="", tool_call_id=call_id)
            case {"role": "system" | "developer" | "user" | "assistant"}:
                yield UserMessage(content="")
            case _:
                raise ValueError("a text among the request's messages is no message")


def _parsed(text: object) -> object:
    try:
        if not isinstance(text, str):
            raise TypeError
        return json.loads(storable("a text", text))
    except (TypeError, ValueError, RecursionError, InputInvalidError):
        raise ValueError("a text in the request is no JSON text") from None
