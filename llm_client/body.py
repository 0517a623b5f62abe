"""The bytes of a request, joined from the JSON texts of its messages and tools.

Nothing of the history is parsed: the cost of a request is a join, whatever the session's age. The official client's
typed method walks every message instead, 460 us each (FIELD.md, section 4).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final

from llm_client.errors import ModelCapabilityError, ModelRequestError
from llm_client.json_text import read_json
from llm_client.service import ChatRequest
from llm_client.settings import Capabilities, Settings

_OURS: Final = frozenset({"messages", "tools", "stream", "stream_options"})
_NEEDS: Final = (
    ("image_url", "images"),
    ("file", "files"),
    ("input_audio", "audio"),
)


def request_body(request: ChatRequest, settings: Settings, *, stream: bool) -> bytes:
    """The body of one Chat Completions request.

    Raises:
        ModelRequestError: it cannot be written: a lone surrogate, a number that is no JSON, an `extra` field of ours.
    """
    fields = {"model": json.dumps(request.model or settings.model)}
    if request.tools:
        fields["tools"] = f"[{','.join(request.tools)}]"
        if request.tool_choice is not None:
            fields["tool_choice"] = json.dumps(request.tool_choice)
    if request.max_tokens is not None:
        fields[settings.max_tokens_field] = str(request.max_tokens)
    if request.temperature is not None:
        if not math.isfinite(request.temperature):
            raise ModelRequestError(f"temperature={request.temperature} is no JSON number; give 0 to 2")
        fields["temperature"] = json.dumps(request.temperature)
    if request.response_format is not None:
        fields["response_format"] = request.response_format
    if stream:
        fields["stream"] = "true"
        if settings.stream_usage:
            fields["stream_options"] = '{"include_usage":true}'
    for name, value in request.extra.items():
        if name in _OURS:
            raise ModelRequestError(f"extra[{name!r}] is set by the request itself; leave it out of extra")
        fields[name] = _written(name, value)
    small = ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items())
    # The messages come last and are joined once: they may be megabytes.
    text = "".join(("{", small, ',"messages":[', ",".join(request.messages), "]}"))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ModelRequestError(
            f"the request holds a lone surrogate near {text[max(0, error.start - 20) : error.start]!r}; it is no valid "
            'Unicode: clean the text with text.encode("utf-8", "replace").decode()'
        ) from None


def check_capabilities(messages: Sequence[str], capabilities: Capabilities, endpoint: str) -> None:
    """Raises:
    ModelCapabilityError: a message holds a part that the endpoint was said to lack.
    """
    for kind, capability in _NEEDS:
        if getattr(capabilities, capability):
            continue
        for number, message in enumerate(messages):
            # The word may stand in a text as well, so the rare message that has it is looked at properly.
            if f'"{kind}"' in message and _has_part(message, kind):
                raise ModelCapabilityError(
                    f"message {number} holds a part of type {kind}, but the endpoint {endpoint} was set up without "
                    f"{capability}: leave the part out, use another endpoint, or build the service with "
                    f"{capability}=True"
                )


def _has_part(message: str, kind: str) -> bool:
    try:
        body = read_json(message)
    except ValueError:
        return False
    content = body.get("content") if isinstance(body, dict) else None
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("type") == kind for part in content)


def _written(name: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise ModelRequestError(
            f"extra[{name!r}] is no JSON value; give text, numbers, lists and objects of them"
        ) from None
