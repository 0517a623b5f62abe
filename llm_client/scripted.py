"""`ScriptedLLM`: a model that answers from a list, in process. For tests, examples and trying things out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Final, TypeAlias

from llm_client.errors import ModelError
from llm_client.messages import AssistantMessage, ToolCall
from llm_client.service import Answer, ChatRequest, Json, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta, Usage

Said: TypeAlias = "str | ToolCall | Sequence[ToolCall] | AssistantMessage | Answer | Exception"
"""What a script item comes to: text, calls, a message, a whole answer, or an error to raise."""

ScriptItem: TypeAlias = "Said | Callable[[ChatRequest], Said | Awaitable[Said]]"

_CHARACTERS_PER_TOKEN: Final = 4


class ScriptEndedError(ModelError):
    """The script has no answer left: the test asked the model more often than it planned."""

    code = "model.script_ended"


def count_usage(request: ChatRequest, answer: AssistantMessage) -> Usage:
    """The default bill: a token for every four characters, at least one each way."""
    asked = sum(map(len, request.messages)) + sum(map(len, request.tools))
    said = len(answer.text) + sum(len(call.name) + len(call.arguments) for call in answer.tool_calls)
    return Usage(
        prompt_tokens=max(1, asked // _CHARACTERS_PER_TOKEN), completion_tokens=max(1, said // _CHARACTERS_PER_TOKEN)
    )


def says(text: str) -> AssistantMessage:
    """An answer in words."""
    return AssistantMessage(content=text)


def calls(*wanted: tuple[str, Json], text: str | None = None) -> AssistantMessage:
    """An answer that calls tools: `calls(("read", {"path": "a"}), ("write", {...}))`. Ids are `call_0`, `call_1`, ...

    Arguments given as text go out as they are, so that broken ones can be tried too.
    """
    return AssistantMessage(
        content=text,
        tool_calls=tuple(
            ToolCall(
                id=f"call_{number}",
                name=name,
                arguments=arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
            )
            for number, (name, arguments) in enumerate(wanted)
        ),
    )


class ScriptedLLM:
    """An `LLMService` that gives the items of its script in order; `requests` holds what it was asked.

    An item is text, tool calls, a message, an answer, an error to raise, or a function of the request that gives one of
    these (or an awaitable of one). A stream gives texts in pieces of `piece` characters. An item is used up when it is
    asked for, so a cancelled request has used one.
    """

    def __init__(
        self,
        script: Iterable[ScriptItem] = (),
        *,
        model: str = "scripted",
        usage: Usage | Callable[[ChatRequest, AssistantMessage], Usage | None] | None = count_usage,
        piece: int = 8,
        replay_reasoning: bool = False,
    ) -> None:
        if piece < 1:
            raise ValueError(f"piece={piece} gives no text; give 1 or more characters")
        self._script = list(script)
        self._next = 0
        self._model = model
        self._usage = usage
        self._piece = piece
        self._replay_reasoning = replay_reasoning
        self.requests: list[ChatRequest] = []
        """Every request so far, also those that failed."""
        self.closed = False

    def __repr__(self) -> str:
        return f"ScriptedLLM({self.left} of {len(self._script)} answers left)"

    @property
    def model(self) -> str:
        return self._model

    @property
    def replay_reasoning(self) -> bool:
        return self._replay_reasoning

    @property
    def left(self) -> int:
        """How many answers are left."""
        return len(self._script) - self._next

    def add(self, *items: ScriptItem) -> None:
        """Append to the script."""
        self._script += items

    async def complete(self, request: ChatRequest) -> Answer:
        """The next answer.

        Raises:
            ScriptEndedError: there is none.
            Exception: the item is one, or its function raised it.
        """
        self.requests.append(request)
        if not self.left:
            raise ScriptEndedError(
                f"the script of {len(self._script)} answers is used up, and request {len(self.requests)} asks for "
                "another: give ScriptedLLM more answers, or find out why the model is asked again"
            )
        item = self._script[self._next]
        self._next += 1
        if callable(item):
            given = item(request)
            item = await given if isawaitable(given) else given
        if isinstance(item, Exception):
            raise item
        return self._answer(request, item)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """The next answer as deltas, then whole. Raises as `complete` does, before any delta."""
        answer = await self.complete(request)
        message = answer.message
        reasoning = message.provider.get("reasoning_content")
        if isinstance(reasoning, str):
            for text in self._pieces(reasoning):
                yield ReasoningDelta(text)
        for text in self._pieces(message.text):
            yield TextDelta(text)
        for index, call in enumerate(message.tool_calls):
            first, *rest = self._pieces(call.arguments) or [""]
            yield ToolCallDelta(index, call.id, call.name, first)
            for text in rest:
                yield ToolCallDelta(index, None, None, text)
        yield answer

    async def aclose(self) -> None:
        self.closed = True

    def _pieces(self, text: str) -> list[str]:
        return [text[at : at + self._piece] for at in range(0, len(text), self._piece)]

    def _answer(
        self, request: ChatRequest, said: str | ToolCall | Sequence[ToolCall] | AssistantMessage | Answer
    ) -> Answer:
        if isinstance(said, Answer):
            return said
        if isinstance(said, str):
            message = says(said)
        elif isinstance(said, AssistantMessage):
            message = said
        else:
            message = AssistantMessage(tool_calls=(said,) if isinstance(said, ToolCall) else tuple(said))
        usage = self._usage(request, message) if callable(self._usage) else self._usage
        return Answer(
            message=message,
            finish_reason="tool_calls" if message.tool_calls else "stop",
            usage=usage,
            model=request.model or self._model,
        )
