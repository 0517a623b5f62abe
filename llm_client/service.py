"""The contract between a loop and a model: one request in, one answer or one stream of events out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from llm_client.messages import AssistantMessage

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one model call cost, in tokens, as the endpoint reported it.

    `cached_tokens` are part of `prompt_tokens`, `reasoning_tokens` part of `completion_tokens`.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request. Messages and tools are JSON texts: they are joined into the body, never parsed again.

    A text in `messages` is one message of the Chat Completions API; a text in `tools` one entry of its `tools` list.
    """

    messages: tuple[str, ...]
    tools: tuple[str, ...] = ()
    tool_choice: Literal["auto", "none", "required"] | None = None
    model: str | None = None
    """Overrides the model of the service for this request."""
    max_tokens: int | None = None
    temperature: float | None = None
    response_format: str | None = None
    """JSON text of the API's `response_format`."""
    extra: Mapping[str, Json] = field(default_factory=dict)
    """Further top-level fields of the body, as this endpoint wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer. An unfinished one is an error, never an `Answer`."""

    message: AssistantMessage
    finish_reason: str
    usage: Usage | None
    model: str
    """The model that answered, as the endpoint named it."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class AttemptVoided:
    """All deltas since the last `AttemptVoided` (or the start) came from a failed attempt and do not count."""

    attempt: int
    error: str
    retry_in: float
    """Seconds until the next attempt."""


StreamEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | AttemptVoided | Answer


@runtime_checkable
class ChecksMessages(Protocol):
    """A model that can say beforehand that it will never take a message, so that it is not stored in vain."""

    def check_message(self, message: str) -> None:
        """Raises `ModelCapabilityError` for the JSON text of a message that the endpoint cannot take. Sends nothing."""
        ...


class LLMService(Protocol):
    """A model. One instance may serve many sessions at once.

    Both calls may be cancelled at any await. They raise nothing but `ModelError`s. `stream` yields deltas and, as its
    last event, the `Answer`; a stream that cannot end so raises.
    """

    @property
    def model(self) -> str:
        """The model asked when a request names none."""
        ...

    @property
    def replay_reasoning(self) -> bool:
        """Whether the endpoint wants its own reasoning back in later requests."""
        ...

    async def complete(self, request: ChatRequest) -> Answer: ...

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamEvent]: ...

    async def aclose(self) -> None: ...
