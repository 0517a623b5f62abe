"""What a scripted model says: replies and faults, in Python or JSON, and how one is chosen for a request.

A script is a list (its replies are given in order), rules (the reply depends on the request alone, so that crashes and
retries of the client change nothing), or a function of the request.

The JSON form::

    {"model": "scripted", "piece": 8, "context_window": null,
     "answers": [REPLY, ...]}                                         in order, or
    {"rules": [{"when": {"user": 1, "round": 0}, "reply": REPLY}, ...], "otherwise": REPLY}

`when` takes any of: `user` (number of user messages), `round` (assistant messages since the last of them), `contains`
(in the last user message), `last` (role of the last message), `tools` (whether tools are offered), `stream`. All must
hold; the first rule that holds is taken. REPLY is text, a list of `[name, arguments]` calls, or an object of `Reply`'s
fields with `calls` as a list of `[name, arguments]` or `{"name", "arguments", "id"}`, and `fault` as an object of
`Fault`'s fields.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from llm_client.messages import AssistantMessage, text_of

FaultKind: TypeAlias = Literal["status", "disconnect", "truncate", "malformed", "hang", "error"]
_KINDS: Final = ("status", "disconnect", "truncate", "malformed", "hang", "error")


class ScriptError(ValueError):
    """The script cannot be read, or has no reply for a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call of a reply. `arguments` is a JSON value, or the text to send as it is. Without an `id`, one is made
    from the request; `""` is sent as such, None leaves the field out of the wire."""

    name: str
    arguments: Any = field(default_factory=dict)
    id: str | None = "auto"

    @property
    def arguments_text(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong. `after` is the number of chunks that go out first; None: before anything, even the headers.

    `status`: an HTTP error. `disconnect`: the connection is reset. `truncate`: the stream ends in order, but early.
    `malformed`: one chunk is damaged. `hang`: nothing more comes. `error`: an error object in place of a chunk.
    """

    kind: FaultKind
    after: int | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Of `status` and `error`: the whole body, JSON or text; by default an error object of the API."""
    message: str = "The server had an error while processing your request."
    code: str | None = None
    type: str = "server_error"
    times: int | None = None
    """Only the first so many requests with the same body meet it; None: all of them (in a list: one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the model. Times are seconds."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    """Goes out as `reasoning_content`."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the message; in a stream, of the first delta."""
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    """By default a token for four characters of the body, and of what is said."""
    delay: float = 0.0
    """Before the answer begins."""
    chunk_delay: float = 0.0
    """Before every chunk."""
    piece: int | None = None
    """Characters a chunk carries; by default the server's."""
    chunks: tuple[Any, ...] | None = None
    """A recorded stream to send instead: JSON values, or texts as they are (": ..." as a comment)."""
    done: bool = True
    """Whether a stream ends with [DONE]."""
    body: Any = None
    """A whole body to send instead, JSON or text (not in a stream)."""
    fault: Fault | None = None

    @staticmethod
    def says(text: str) -> Reply:
        return Reply(text=text)

    @staticmethod
    def calling(*calls: tuple[str, Any], text: str | None = None) -> Reply:
        """`Reply.calling(("read", {"path": "a"}), ("write", {...}))`"""
        return Reply(text=text, calls=tuple(Call(name=name, arguments=arguments) for name, arguments in calls))

    @staticmethod
    def fails(
        status: int,
        message: str = "The server had an error.",
        *,
        retry_after: float | str | None = None,
        code: str | None = None,
        kind: str = "server_error",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        given = dict(headers or {})
        if retry_after is not None:
            given["retry-after"] = str(retry_after)
        return Reply(fault=Fault(kind="status", status=status, message=message, code=code, type=kind, headers=given))

    def with_fault(self, kind: FaultKind, **facts: Any) -> Reply:
        """`Reply.says("...").with_fault("disconnect", after=2, times=1)`"""
        return replace(self, fault=Fault(kind=kind, **facts))


@dataclass(frozen=True)
class Asked:
    """A request as a script sees it."""

    number: int
    """Counted from 1 over all valid requests of the server."""
    body: Mapping[str, Any]
    raw: bytes
    seen: int = 0
    """How often the same body came before."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = self.body["messages"]
        return messages

    @cached_property
    def user(self) -> int:
        """How many user messages there are."""
        return sum(message["role"] == "user" for message in self.messages)

    @cached_property
    def round(self) -> int:
        """How many assistant messages stand after the last user message."""
        count = 0
        for message in reversed(self.messages):
            if message["role"] == "user":
                break
            count += message["role"] == "assistant"
        return count

    @cached_property
    def last_user_text(self) -> str:
        content = next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    @property
    def last(self) -> str:
        return str(self.messages[-1]["role"])

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that may be called."""
        if self.body.get("tool_choice") == "none":
            return ()
        return tuple(tool["function"]["name"] for tool in self.body.get("tools") or ())

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


Policy: TypeAlias = "Callable[[Asked], ReplyLike | Awaitable[ReplyLike]]"
ReplyLike: TypeAlias = "Reply | AssistantMessage | str | Sequence[Any] | Mapping[str, Any]"
ScriptLike: TypeAlias = "Policy | Mapping[str, Any] | Iterable[ReplyLike]"


def reply_of(value: object) -> Reply:
    """The reply that a value stands for.

    Raises:
        ScriptError: it stands for none.
    """
    match value:
        case Reply():
            return value
        case str():
            return Reply(text=value)
        case AssistantMessage():
            return _from_message(value)
        case Mapping():
            return _from_mapping(value)
        case Sequence():
            return Reply(calls=tuple(_call(call) for call in value))
    raise ScriptError(
        f"a {type(value).__name__} is no reply; give text, a list of calls, a Reply or an object of its fields"
    )


class InOrder:
    """Gives its replies in order. A reply whose fault has `times` is given again until those are used up."""

    def __init__(self, replies: Iterable[object]) -> None:
        self._replies = [reply_of(item) for item in replies]
        self._next = 0
        self._failed = 0

    @property
    def left(self) -> int:
        return len(self._replies) - self._next

    def __call__(self, asked: Asked) -> Reply:
        if not self.left:
            raise ScriptError(f"the script of {len(self._replies)} answers is used up; request {asked.number} has none")
        reply = self._replies[self._next]
        if reply.fault is not None and reply.fault.times is not None:
            if self._failed < reply.fault.times:
                self._failed += 1
                return replace(reply, fault=replace(reply.fault, times=None))
            reply = replace(reply, fault=None)
        self._next += 1
        self._failed = 0
        return reply


class Rules:
    """Gives the reply of the first rule that holds: it depends on the request alone."""

    def __init__(self, rules: Sequence[Mapping[str, Any]], otherwise: object | None = None) -> None:
        self._rules = [(self._checked(rule.get("when", {})), reply_of(rule.get("reply"))) for rule in rules]
        self._otherwise = None if otherwise is None else reply_of(otherwise)

    def __call__(self, asked: Asked) -> Reply:
        for when, reply in self._rules:
            if all(self._holds(name, wanted, asked) for name, wanted in when.items()):
                return reply
        if self._otherwise is None:
            raise ScriptError(
                f"no rule holds for user message {asked.user}, round {asked.round}, and there is no otherwise"
            )
        return self._otherwise

    @staticmethod
    def _checked(when: Mapping[str, Any]) -> Mapping[str, Any]:
        unknown = set(when) - {"user", "round", "contains", "last", "tools", "stream"}
        if unknown:
            raise ScriptError(f"a rule's `when` knows no {', '.join(sorted(unknown))}")
        return when

    @staticmethod
    def _holds(name: str, wanted: Any, asked: Asked) -> bool:
        if name == "contains":
            return str(wanted) in asked.last_user_text
        if name == "tools":
            return bool(asked.tools) == bool(wanted)
        return bool(getattr(asked, name) == wanted)


def policy_of(script: ScriptLike) -> Policy:
    """The function of the request that a script stands for.

    Raises:
        ScriptError: it cannot be read.
    """
    if callable(script):
        return script
    if isinstance(script, Mapping):
        if "rules" in script:
            return Rules(script["rules"], script.get("otherwise"))
        if "answers" in script:
            return InOrder(script["answers"])
        raise ScriptError("a script is a list of replies, or an object with `answers` or `rules`")
    return InOrder(script)


def _from_message(message: AssistantMessage) -> Reply:
    return Reply(
        text=None if message.content is None else text_of(message.content),
        calls=tuple(Call(name=call.name, arguments=call.arguments, id=call.id) for call in message.tool_calls),
        refusal=message.refusal,
        fields=message.provider,
    )


def _from_mapping(value: Mapping[str, Any]) -> Reply:
    given = dict(value)
    _known(given, Reply, "reply")
    if "calls" in given:
        given["calls"] = tuple(_call(call) for call in given["calls"])
    if given.get("chunks") is not None:
        given["chunks"] = tuple(given["chunks"])
    if isinstance(given.get("fault"), Mapping):
        _known(given["fault"], Fault, "fault")
        if given["fault"].get("kind") not in _KINDS:
            raise ScriptError(f"a fault's kind is one of {', '.join(_KINDS)}, not {given['fault'].get('kind')!r}")
        given["fault"] = Fault(**given["fault"])
    return Reply(**given)


def _call(value: object) -> Call:
    match value:
        case Call():
            return value
        case Mapping():
            _known(value, Call, "call")
            return Call(**value)
        case [str() as name, arguments]:
            return Call(name=name, arguments=arguments)
    raise ScriptError(f"{value!r} is no call; give [name, arguments] or an object with name, arguments and id")


def _known(given: Mapping[str, Any], kind: type[Reply] | type[Fault] | type[Call], what: str) -> None:
    unknown = set(given) - {known.name for known in fields(kind)}
    if unknown:
        raise ScriptError(f"a {what} has no field {', '.join(sorted(unknown))}")
