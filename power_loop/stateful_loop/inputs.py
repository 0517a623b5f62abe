"""What an app hands in, parsed once: whatever breaks a rule is refused before anything is written."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pydantic_core
from pydantic import BaseModel, ValidationError

from llm_client.messages import (
    MESSAGE,
    ContentPart,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    UserMessage,
    wire,
)
from power_loop.errors import InputInvalidError
from power_loop.store.transactions.settle import Resolution
from power_loop.tools import encoded
from power_loop.values import MAX_ID_LENGTH, compact_json, shown, storable

UserInput: TypeAlias = str | Sequence[ContentPart | Mapping[str, Any]] | UserMessage | Mapping[str, Any]
"""Text, a list of content parts, or a whole user message; parts and messages as models or as the API's JSON objects."""

UNSET: Final = object()

DECISIONS: Final = ("retry", "report", "abort")

_NAME: Final = re.compile(r"[^\s<|\\/>]{1,64}")
"""What the API takes as the name of a message's author."""


def user_message(given: object) -> str:
    """The wire text of a user's input.

    Raises:
        InputInvalidError: empty, of a wrong type, or not storable.
    """
    if isinstance(given, str):
        if not given.strip():
            raise InputInvalidError("user_input", "is empty", "send text, content parts or a user message")
        return wire(UserMessage(content=storable("user_input", given)))
    message: dict[str, Any] | None = None
    if isinstance(given, UserMessage):
        message = given.model_dump(mode="python", exclude_none=True)
    elif isinstance(given, Mapping):
        message = dict(given)
    elif isinstance(given, list | tuple):
        message = {"role": "user", "content": [_plain(part) for part in given]}
    if message is None:
        raise InputInvalidError(
            "user_input", f"is a {type(given).__name__}", "send text, a list of content parts or a user message"
        )
    return _checked(message)


def system_message(prompt: object) -> str:
    """The wire text of a system prompt."""
    if not isinstance(prompt, str):
        raise InputInvalidError("system_prompt", f"is a {type(prompt).__name__}", "give text")
    if not prompt.strip():
        raise InputInvalidError("system_prompt", "is empty", "leave it out, or write one")
    return wire(SystemMessage(content=storable("system_prompt", prompt)))


def metadata_text(given: object) -> str | None:
    """The JSON text of an app's metadata: an object of JSON values."""
    return None if given is None else object_text("metadata", given)


def object_text(what: str, given: object) -> str:
    """The JSON text of an object of JSON values."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputInvalidError(what, f"is a {type(given).__name__}", "give a dict with text keys")
    try:
        text = compact_json(dict(given))
        pydantic_core.from_json(text, allow_inf_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputInvalidError(what, f"is not JSON ({error})", "use text, numbers, lists, dicts") from None
    return storable(what, text)


def approvals_text(given: object) -> str | None:
    """The JSON text of which calls a person must approve in a session."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InputInvalidError("approvals", f"is a {type(given).__name__}", "give a dict from tool names to words")
    words = {
        short_text("a tool's name in approvals", name): one_of(f"approvals[{name!r}]", word, ("always", "never"))
        for name, word in given.items()
    }
    return compact_json(words)


def short_text(what: str, given: object) -> str:
    """A name or an id of the app's: text of 1 to 200 characters."""
    if not isinstance(given, str):
        raise InputInvalidError(what, f"is a {type(given).__name__}", "give text")
    if not 1 <= len(given) <= MAX_ID_LENGTH:
        raise InputInvalidError(what, f"has {len(given)} characters", f"give 1 to {MAX_ID_LENGTH}")
    return storable(what, given)


def session_of_request(request_id: str) -> str:
    """The id of the session that an input without one makes for its request: the same for the same request."""
    return f"request-{hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()}"


def one_of(what: str, given: object, words: Sequence[str]) -> str:
    if not isinstance(given, str) or given not in words:
        raise InputInvalidError(what, f"is {shown(given)}", f"say one of {', '.join(words)}")
    return given


def decisions(given: object) -> dict[str, str]:
    """What is to become of calls in doubt, by their ids; whether there are such calls is for the store to say."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputInvalidError("decisions", f"is a {type(given).__name__}", "give a dict from call ids to words")
    return {
        short_text("a call id in decisions", call_id): one_of(f"decisions[{call_id!r}]", word, DECISIONS)
        for call_id, word in given.items()
    }


def stop_event(given: object) -> None:
    """Raises `InputInvalidError` unless it is None or can be asked whether it is set."""
    if given is not None and (isinstance(given, type) or not callable(getattr(given, "is_set", None))):
        raise InputInvalidError(
            "stop_event", f"is a {type(given).__name__}", "give an asyncio.Event, a threading.Event or the like"
        )


def seconds(what: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise InputInvalidError(what, f"is {shown(given)}", "give seconds, 0 or more")
    return given


def whole_number(what: str, given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise InputInvalidError(what, f"is {shown(given)}", "give a whole number, 0 or more")
    return given


def part_problems(parts: Mapping[str, tuple[object, Sequence[str]]]) -> list[str]:
    """What is wrong with the parts a loop is built from, each given with what it must have; absent ones are right."""
    return [
        f"{name} is {shown(part)}, which has no {missing[0]}: give an instance of one that has"
        for name, (part, needed) in parts.items()
        if part is not None
        and (missing := [word for word in needed if isinstance(part, type) or not hasattr(part, word)])
    ]


def resolution(result: object, error: object, *, retry: bool, report: bool) -> Resolution:
    """What a person said of a call, exactly one thing."""
    said = [result is not UNSET, error is not None, bool(retry), bool(report)]
    if sum(said) != 1:
        raise InputInvalidError(
            "resolve()", f"was told {sum(said)} things", "give exactly one of result=, error=, retry=True, report=True"
        )
    if retry or report:
        return Resolution(decision="retry" if retry else "report")
    if error is not None:
        return Resolution(content=f"Error: {short_or_long('error', error)}", failed=True)
    return Resolution(content=encoded(result))


def short_or_long(what: str, given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise InputInvalidError(what, "is no text", "say in words what happened")
    return storable(what, given)


def _plain(part: object) -> object:
    return part.model_dump(mode="python") if isinstance(part, BaseModel) else part


def _checked(message: dict[str, Any]) -> str:
    role = message.setdefault("role", "user")
    if role != "user":
        raise InputInvalidError("user_input", f"has the role {role!r}", "only the user's messages are sent")
    content = message.get("content")
    if not content or (isinstance(content, str) and not content.strip()):
        raise InputInvalidError("user_input", "is empty", "send text, content parts or a user message")
    try:
        parsed = MESSAGE.validate_python(message, strict=False)
        text = wire(parsed)
        pydantic_core.from_json(text, allow_inf_nan=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"] if step != "user")
        raise InputInvalidError(
            "user_input", f"is wrong at {where or 'its top'} ({first['msg']})", "use the content parts of the API"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputInvalidError(
            "user_input", f"cannot be written as JSON ({error})", "use JSON values, and text without lone surrogates"
        ) from None
    _check_user(parsed)
    return text


def _check_user(message: Message) -> None:
    """What is stored is sent again with every later request: one refused message would spoil the session for good."""
    assert isinstance(message, UserMessage)
    if message.name is not None and not _NAME.fullmatch(message.name):
        raise InputInvalidError(
            "user_input",
            f"has the name {message.name!r}",
            "the API takes 1 to 64 characters, no spaces and none of <|\\/>",
        )
    if isinstance(message.content, str):
        return
    if any(isinstance(part, RefusalPart) for part in message.content):
        raise InputInvalidError("user_input", "holds a refusal", "only a model's answer can")
    if all(isinstance(part, TextPart) and not part.text.strip() for part in message.content):
        raise InputInvalidError("user_input", "is empty", "send text, content parts or a user message")
