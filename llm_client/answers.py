"""A whole answer, read strictly from the JSON of one. No I/O.

What the API does not name is kept in `AssistantMessage.provider`, as the endpoint wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llm_client.errors import ModelServerError
from llm_client.json_text import write_json
from llm_client.messages import CALL_EXTRAS, AssistantMessage, Content, RefusalPart, TextPart, ToolCall
from llm_client.service import Answer, Json, Usage

CONTENT_PARTS: Final = "content_parts"
"""The provider field that holds parts of a content list which the API does not know (thinking, for one)."""

MESSAGE_FIELDS: Final = frozenset({"role", "content", "tool_calls", "refusal", "name"})
CALL_FIELDS: Final = frozenset({"index", "id", "type", "function"})
_PARTS: Final[TypeAdapter[TextPart | RefusalPart]] = TypeAdapter(TextPart | RefusalPart)
_BIGGEST: Final = 2**53


class MalformedAnswerError(ValueError):
    """What came is no answer of the API; the message says what is wrong with it."""


def answer_in(value: Json, *, model: str) -> Answer:
    """The answer in the JSON of a whole one. `model` is the model that was asked, should the endpoint not name it.

    Raises:
        MalformedAnswerError: there is none.
    """
    body = as_object(value, "the answer")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedAnswerError("the answer has no choices")
    choice = as_object(choices[0], "the choice")
    message = as_object(choice.get("message"), "the choice's message")
    return Answer(
        message=_message(message),
        finish_reason=finished(choice.get("finish_reason")),
        usage=usage_in(body.get("usage")),
        model=named(body.get("model")) or model,
    )


def as_object(value: Json, what: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise MalformedAnswerError(f"{what} is {_kind(value)} instead of an object")
    return value


def as_text(value: Json, what: str) -> str:
    """The text; what is absent is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedAnswerError(f"{what} is {_kind(value)} instead of text")
    return value


def named(value: Json) -> str:
    return value if isinstance(value, str) else ""


def finished(value: Json) -> str:
    """The finish reason.

    Raises:
        MalformedAnswerError: there is none, or it says that the endpoint failed half-way.
    """
    reason = as_text(value, "the finish reason")
    if not reason:
        raise MalformedAnswerError("the answer has no finish reason, so it may be a part of one")
    if reason == "error":
        raise MalformedAnswerError("the endpoint ended its answer with an error of its own")
    return reason


def usage_in(value: Json) -> Usage | None:
    """The usage an endpoint reports, or None where it reports none that can be read."""
    if not isinstance(value, dict) or (value.get("prompt_tokens") is None and value.get("completion_tokens") is None):
        return None
    prompt, completion = _tokens(value.get("prompt_tokens")), _tokens(value.get("completion_tokens"))
    prompt_details, completion_details = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    cached = _tokens(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else 0
    reasoning = _tokens(completion_details.get("reasoning_tokens")) if isinstance(completion_details, dict) else 0
    if reasoning and _tokens(value.get("total_tokens")) == prompt + completion + reasoning:
        # Some endpoints (xAI) count reasoning beside the completion, not in it; their total gives it away.
        completion += reasoning
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=min(cached, prompt),
        reasoning_tokens=min(reasoning, completion),
    )


def call_of(id: str, name: str, arguments: str) -> ToolCall:
    """A tool call; ids stay as the endpoint gave them, empty or twice the same.

    Raises:
        MalformedAnswerError: it does not say which tool.
    """
    if not name:
        raise MalformedAnswerError("a tool call has no name")
    return ToolCall(id=id, name=name, arguments=arguments)


def arguments_in(value: Json) -> str:
    """The arguments as text; some endpoints send the object itself."""
    if isinstance(value, dict | list):
        return write_json(value)
    return as_text(value, "the arguments of a tool call")


def content_in(value: Json) -> tuple[Content | None, list[Json]]:
    """The content, and the parts of it that the API does not know."""
    if value is None or isinstance(value, str):
        return value, []
    if not isinstance(value, list):
        raise MalformedAnswerError(f"the content is {_kind(value)} instead of text or a list")
    known: list[TextPart | RefusalPart] = []
    unknown: list[Json] = []
    for part in value:
        try:
            known.append(_PARTS.validate_python(part))
        except ValidationError:
            unknown.append(part)
    return tuple(known) or None, unknown


def with_extras(provider: dict[str, Json], extras: list[dict[str, Json]], unknown_parts: list[Json]) -> dict[str, Json]:
    if any(extras):
        provider[CALL_EXTRAS] = list(extras)
    if unknown_parts:
        provider[CONTENT_PARTS] = unknown_parts
    return provider


def unknown_fields(value: Mapping[str, Json], known: frozenset[str]) -> dict[str, Json]:
    return {name: field for name, field in value.items() if name not in known and field is not None}


def _message(message: dict[str, Json]) -> AssistantMessage:
    content, unknown_parts = content_in(message.get("content"))
    listed = message.get("tool_calls")
    if listed is not None and not isinstance(listed, list):
        raise MalformedAnswerError(f"the tool calls are {_kind(listed)} instead of a list")
    calls: list[ToolCall] = []
    extras: list[dict[str, Json]] = []
    for item in listed or []:
        call = as_object(item, "a tool call")
        function = as_object(call.get("function"), "the function of a tool call")
        name = as_text(function.get("name"), "the name of a tool call")
        calls.append(call_of(_id(call.get("id")), name, arguments_in(function.get("arguments"))))
        extras.append(unknown_fields(call, CALL_FIELDS))
    return AssistantMessage(
        content=content,
        tool_calls=tuple(calls),
        refusal=as_text(message.get("refusal"), "the refusal") or None,
        name=named(message.get("name")) or None,
        provider=with_extras(unknown_fields(message, MESSAGE_FIELDS), extras, unknown_parts),
    )


def _id(value: Json) -> str:
    # A number is no id of the API, but some endpoints count their calls.
    return (
        str(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else as_text(value, "the id of a tool call")
    )


def _tokens(value: Json) -> int:
    """A count of tokens; what is none counts 0, for an answer is not lost over its bill."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _BIGGEST:
        return 0
    return int(value)


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "absent"}
    return names.get(type(value), "a number")


def malformed(problem: object, endpoint: str) -> ModelServerError:
    """The error for an answer that is none."""
    return ModelServerError(
        f"{endpoint} answered with something that is no Chat Completions answer: {problem}", status=200
    )
