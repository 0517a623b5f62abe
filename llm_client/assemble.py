"""Chunks of a stream to deltas, and at its end to the whole answer. No I/O.

Endpoints disagree on how a stream of tool calls looks: indices are missing or all 0, ids come late, twice or anew with
every piece, names are repeated. `_CallsSoFar` holds the rules that tell a new call from the next piece of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from llm_client.answers import (
    CALL_FIELDS,
    MESSAGE_FIELDS,
    MalformedAnswerError,
    arguments_in,
    as_object,
    as_text,
    call_of,
    content_in,
    finished,
    named,
    unknown_fields,
    usage_in,
    with_extras,
)
from llm_client.json_text import cleaned, cleaned_object, read_json
from llm_client.messages import AssistantMessage, RefusalPart, ToolCall, text_of
from llm_client.service import Answer, Json, ReasoningDelta, TextDelta, ToolCallDelta, Usage

Delta = TextDelta | ReasoningDelta | ToolCallDelta

_REASONING: Final = ("reasoning_content", "reasoning")
"""Where endpoints put readable reasoning; one that fills both fills them alike."""

_NOT_JOINED: Final = frozenset({"index", "id", "type", "name", "format", "role", "object"})
"""Fields of nested objects that name something: repeated, not continued, by later chunks."""


class Assembly:
    """One answer in the making. Feed it every chunk, then ask for the `answer`."""

    def __init__(self, model: str) -> None:
        self._asked_model = model
        self._model = ""
        self._text: list[str] | None = None
        self._refusal: list[str] = []
        self._unknown_parts: list[Json] = []
        self._provider: dict[str, Json] = {}
        self._calls = _CallsSoFar()
        self._finish_reason: Json = None
        self._usage: Usage | None = None

    @property
    def complete(self) -> bool:
        """Whether the endpoint has said that the answer is finished."""
        return bool(self._finish_reason)

    def feed(self, value: Json) -> list[Delta]:
        """Take one chunk in; what is new in it for those who watch.

        A chunk may hold half a surrogate pair; the whole answer joins the halves, a delta shows U+FFFD for each.

        Raises:
            MalformedAnswerError: it is no chunk.
        """
        chunk = as_object(value, "a chunk")
        self._model = self._model or named(chunk.get("model"))
        self._usage = usage_in(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        if choices is None:
            return []
        if not isinstance(choices, list):
            raise MalformedAnswerError("the choices of a chunk are no list")
        deltas: list[Delta] = []
        for item in choices:
            choice = as_object(item, "a choice")
            if choice.get("index") in (None, 0):
                deltas += self._choice(choice)
        return deltas

    def answer(self) -> Answer:
        """The whole answer.

        Raises:
            MalformedAnswerError: the stream ended before its end, or a call lacks its name.
        """
        reason = finished(self._finish_reason)
        calls = self._calls.in_order()
        provider = with_extras(self._provider, [call.extra for call in calls], self._unknown_parts)
        return Answer(
            message=AssistantMessage(
                content=None if self._text is None else cleaned("".join(self._text)),
                tool_calls=tuple(call.whole() for call in calls),
                refusal=cleaned("".join(self._refusal)) or None,
                provider=cleaned_object(provider),
            ),
            finish_reason=cleaned(reason),
            usage=self._usage,
            model=cleaned(self._model) or self._asked_model,
        )

    def _choice(self, choice: dict[str, Json]) -> list[Delta]:
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        given = choice.get("delta")
        if given is None:
            return []
        delta = as_object(given, "a delta")
        extras = unknown_fields(delta, MESSAGE_FIELDS)
        reasoning = next((text for name in _REASONING if isinstance(text := extras.get(name), str) and text), None)
        _extend(self._provider, extras, top=True)
        self._refusal.append(as_text(delta.get("refusal"), "a refusal"))
        deltas: list[Delta] = [ReasoningDelta(cleaned(reasoning))] if reasoning else []
        content, unknown_parts = content_in(delta.get("content"))
        self._unknown_parts += unknown_parts
        if content is not None:
            text = text_of(content)
            if self._text is None:
                self._text = []
            self._text.append(text)
            deltas += [TextDelta(cleaned(text))] if text else []
            if not isinstance(content, str):
                self._refusal += [part.refusal for part in content if isinstance(part, RefusalPart)]
        listed = delta.get("tool_calls")
        if listed is not None and not isinstance(listed, list):
            raise MalformedAnswerError("the tool calls of a chunk are no list")
        deltas += [self._calls.feed(as_object(item, "a tool call")) for item in listed or []]
        return deltas


@dataclass(slots=True)
class _Call:
    number: int
    """Its place in the order of appearance: what deltas call `index`."""
    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: dict[str, Json] = field(default_factory=dict)

    def whole(self) -> ToolCall:
        return call_of(cleaned(self.id), cleaned(self.name), cleaned("".join(self.arguments)))

    @property
    def begun(self) -> bool:
        return any(self.arguments)

    @property
    def has_whole_arguments(self) -> bool:
        try:
            return isinstance(read_json("".join(self.arguments)), dict)
        except ValueError:
            return False


class _CallsSoFar:
    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        """The call that pieces with this index go to now."""

    def feed(self, piece: dict[str, Json]) -> ToolCallDelta:
        function = as_object(piece.get("function") or {}, "the function of a tool call")
        index = piece.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            index = None
        given = piece.get("id")
        id = str(given) if isinstance(given, int) else as_text(given, "the id of a tool call")
        name = as_text(function.get("name"), "the name of a tool call")
        arguments = arguments_in(function.get("arguments"))
        call = self._call_of(index, id, name, arguments)
        call.id = call.id or id
        if name and name != call.name:
            call.name += name
        call.arguments.append(arguments)
        _extend(call.extra, unknown_fields(piece, CALL_FIELDS), top=True)
        return ToolCallDelta(call.number, cleaned(id) or None, cleaned(name) or None, cleaned(arguments))

    def in_order(self) -> list[_Call]:
        """By index where every call has one, else as they appeared. What got no name, id or argument is no call."""
        calls = [call for call in self._calls if call.name or call.id or call.begun]
        if all(call.index is not None for call in calls):
            calls.sort(key=lambda call: call.index or 0)
        return calls

    def _call_of(self, index: int | None, id: str, name: str, arguments: str) -> _Call:
        current = None if index is None else self._at.get(index)
        if current is None:
            current = self._without_index(index, id, name)
        if current is None or _begins_anew(current, id, name, arguments):
            current = _Call(len(self._calls), index)
            self._calls.append(current)
        if index is not None:
            current.index = index
            self._at[index] = current
        return current

    def _without_index(self, index: int | None, id: str, name: str) -> _Call | None:
        """The call that a piece belongs to whose index says nothing: the one with its id, or the last one, if the piece
        has nothing new, or only what that one still lacks."""
        calls = self._calls if index is None else [call for call in self._calls if call.index is None]
        for call in calls:
            if id and call.id == id:
                return call
        if calls and calls[-1] is self._calls[-1]:
            last = calls[-1]
            if (not id or not last.id) and (not name or not last.name):
                return last
        return None


def _begins_anew(call: _Call, id: str, name: str, arguments: str) -> bool:
    """Whether a piece for the place of `call` is another call: endpoints exist that put every call at index 0."""
    if not name:
        return False  # only an id that differs: some endpoints make one up for every piece
    if id and call.id and id != call.id:
        return True
    if not call.begun:
        return False
    return name != call.name or (bool(arguments.strip()) and call.has_whole_arguments)


def _extend(into: dict[str, Json], more: dict[str, Json], *, top: bool = False) -> None:
    """Continue what is there: texts are joined, lists and objects extended, anything else is replaced."""
    for name, value in more.items():
        there = into.get(name)
        match there, value:
            case str(), str() if top or name not in _NOT_JOINED:
                into[name] = there + value
            case list(), list():
                into[name] = there + value
            case dict(), dict():
                _extend(there, value)
            case _, None:
                continue
            case _:
                into[name] = value
