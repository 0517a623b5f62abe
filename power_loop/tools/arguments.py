"""The arguments a model wrote: one JSON text, parsed by rules that leave nothing to guess.

Not taken, because the function would run with something the model may not have meant: a name given twice in one
object (at any depth), NaN and Infinity and numbers too large for a float, lone surrogates, nesting deeper than 100,
anything but one object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from power_loop.values import cleaned

MAX_DEPTH: Final = 100
MAX_MESSAGE: Final = 2000
_MAX_PROBLEMS: Final = 8
_MAX_PROBLEM: Final = 400
_MAX_SHOWN: Final = 80
_MAX_DIGITS: Final = 1000


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments that a tool accepted, with its defaults filled in."""

    values: Mapping[str, Any]
    """By name: what a `reconcile` function gets."""
    passed: Mapping[str, Any]
    """The keyword arguments the function gets, without its context."""


class ArgumentsInvalid(Exception):  # noqa: N818 - it never leaves the loop: the model is told, no caller
    """The arguments cannot be used; nothing ran. The message is for the model, at most `MAX_MESSAGE` characters."""

    def __init__(self, tool: str, problems: Sequence[str], expected: str = "") -> None:
        self.tool, self.problems = tool, tuple(shortened(cleaned(one), _MAX_PROBLEM) for one in problems)
        listed = [f"- {one}" for one in self.problems[:_MAX_PROBLEMS]]
        if len(self.problems) > _MAX_PROBLEMS:
            listed.append(f"- and {len(self.problems) - _MAX_PROBLEMS} more")
        head, tail = f"The arguments of {tool} are not valid, so it did not run:", "Correct them and call it again."
        message = "\n".join([head, *listed])
        room = MAX_MESSAGE - len(tail) - 1
        if expected and len(message) + len(expected) + 1 <= room:
            message = f"{message}\n{expected}"
        super().__init__(f"{shortened(message, room)}\n{tail}")


def parsed(tool: str, text: str) -> dict[str, Any]:
    """The JSON object a text is.

    Raises:
        ArgumentsInvalid: it is none, or breaks a rule above; the message says where.
    """
    _whole_characters(tool, text, "the text")
    try:
        value = json.loads(
            text, object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise ArgumentsInvalid(tool, [_where(error)]) from None
    except RecursionError:
        raise ArgumentsInvalid(tool, [_TOO_DEEP]) from None
    except ValueError as error:
        raise ArgumentsInvalid(tool, [str(error)]) from None
    if not isinstance(value, dict):
        raise ArgumentsInvalid(tool, [f"they are {kind(value)}, not one JSON object"])
    _inspected(tool, value)
    return value


_TOO_DEEP: Final = f"they are nested deeper than {MAX_DEPTH} levels"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is given more than once in one object; give it once")
    return given


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {shortened(digits, _MAX_SHOWN)} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _where(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc.rstrip()):
        return f"the JSON text breaks off at its end, character {error.pos}: {error.msg}"
    near = error.doc[max(0, error.pos - 20) : error.pos + 20]
    where = f"line {error.lineno} column {error.colno} (character {error.pos})"
    return f"they are not valid JSON: {error.msg} at {where}, near: {near.strip()}"


def _inspected(tool: str, value: object) -> None:
    """Level by level, so that the check of the nesting needs no stack of its own."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for one in level:
            if isinstance(one, str):
                _whole_characters(tool, one)
            elif isinstance(one, dict):
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                below += one
        if not below:
            return
        level = below
    raise ArgumentsInvalid(tool, [_TOO_DEEP])


def _whole_characters(tool: str, text: str, what: str | None = None) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = what or f"the string {shown(cleaned(text))}"
        raise ArgumentsInvalid(
            tool, [f"{what} holds half of a surrogate pair at character {error.start}; write the whole character"]
        ) from None


def shown(value: object) -> str:
    """The value as short JSON."""
    try:
        return shortened(json.dumps(value, ensure_ascii=False), _MAX_SHOWN)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"


def kind(value: object) -> str:
    """What JSON calls the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
