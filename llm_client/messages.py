"""The message family: what people, models and tools say, in the words of the Chat Completions API.

A message has two texts. Its *wire* text is what a model is sent. Its *provider data* is what an endpoint added to an
answer beyond the API (reasoning, signatures, ...): kept whole, shown to no other endpoint. `wire` and `parse` are
inverse: `parse(wire(m), provider(m)) == m`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

JsonObject: TypeAlias = dict[str, Any]

CALL_EXTRAS: Final = "tool_call_extras"
"""The field of provider data that holds what an endpoint added to its tool calls: one object a call, in their order."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Open(BaseModel):
    """A value to which an endpoint may have added fields we do not know; they are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class TextPart(_Open):
    type: Literal["text"] = "text"
    text: str


class ImageUrl(_Open):
    url: str
    """An https address or a data: address."""


class ImagePart(_Open):
    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl


class AudioPart(_Open):
    type: Literal["input_audio"] = "input_audio"
    input_audio: JsonObject


class FilePart(_Open):
    type: Literal["file"] = "file"
    file: JsonObject


class RefusalPart(_Open):
    type: Literal["refusal"] = "refusal"
    refusal: str


ContentPart: TypeAlias = Annotated[
    TextPart | ImagePart | AudioPart | FilePart | RefusalPart, Field(discriminator="type")
]
Content: TypeAlias = str | tuple[ContentPart, ...]


class ToolCall(_Value):
    """One call a model asks for. `arguments` is the text the model wrote, valid JSON or not."""

    id: str
    name: str
    arguments: str


class SystemMessage(_Value):
    role: Literal["system"] = "system"
    content: Content
    name: str | None = None


class UserMessage(_Value):
    role: Literal["user"] = "user"
    content: Content
    name: str | None = None


class AssistantMessage(_Value):
    """A model's answer. `provider` holds what the endpoint added beyond the API, such as `reasoning_content`."""

    role: Literal["assistant"] = "assistant"
    content: Content | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    name: str | None = None
    provider: JsonObject = Field(default_factory=dict)

    @property
    def text(self) -> str:
        return text_of(self.content)


class ToolMessage(_Value):
    role: Literal["tool"] = "tool"
    content: Content
    tool_call_id: str


Message: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]

MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


def text_of(content: Content | None) -> str:
    """The text in a content: as it is, or the text parts joined; other parts have none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


def wire(message: Message) -> str:
    """The JSON text of a message as the Chat Completions API takes it; without provider data."""
    body: JsonObject = {"role": message.role}
    content = message.content
    body["content"] = content if content is None or isinstance(content, str) else [_part(part) for part in content]
    if isinstance(message, ToolMessage):
        body["tool_call_id"] = message.tool_call_id
    elif message.name is not None:
        body["name"] = message.name
    if isinstance(message, AssistantMessage):
        if message.refusal is not None:
            body["refusal"] = message.refusal
        if message.tool_calls:
            body["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in message.tool_calls
            ]
    return pydantic_core.to_json(body).decode()


def _part(part: ContentPart) -> JsonObject:
    return part.model_dump(mode="json", exclude_none=False)


def provider(message: Message) -> str | None:
    """The JSON text of what the endpoint added, or None."""
    if isinstance(message, AssistantMessage) and message.provider:
        return pydantic_core.to_json(message.provider).decode()
    return None


def parse(wire_text: str, provider_text: str | None = None) -> Message:
    """The message a stored wire text and its provider data stand for.

    Raises:
        ValueError: the text is no message of the API (pydantic's `ValidationError` is one).
    """
    body = pydantic_core.from_json(wire_text)
    if not isinstance(body, dict):
        raise ValueError("a message is a JSON object")
    if "tool_calls" in body:
        body["tool_calls"] = [
            {"id": c["id"], "name": c["function"]["name"], "arguments": c["function"]["arguments"]}
            for c in body["tool_calls"]
        ]
    if provider_text is not None:
        body["provider"] = pydantic_core.from_json(provider_text)
    return MESSAGE.validate_json(pydantic_core.to_json(body))


def replayed(wire_text: str, provider_text: str | None) -> str:
    """The wire text with the provider data back in it, for an endpoint that wants its own words again."""
    if provider_text is None or provider_text == "{}":
        return wire_text
    if f'"{CALL_EXTRAS}"' in provider_text:
        return _with_call_extras(wire_text, pydantic_core.from_json(provider_text))
    return f"{wire_text[:-1]},{provider_text[1:]}"


def _with_call_extras(wire_text: str, added: JsonObject) -> str:
    """What an endpoint added to single calls goes back into them: Gemini refuses calls without their signatures."""
    body = pydantic_core.from_json(wire_text)
    for call, extra in zip(body.get("tool_calls", ()), added.pop(CALL_EXTRAS, ()), strict=False):
        call.update(extra)
    return pydantic_core.to_json(body | added).decode()
