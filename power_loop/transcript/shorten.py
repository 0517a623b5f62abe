"""What the model is shown of a large result: a part of it, by one of these values or by an app's own.

A *shortener* is a value with one method, `shorten(text, limit)`: at most `limit` characters that stand for the text.
It may be called in any thread. Whatever one does, the result itself is kept whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from power_loop.values import cleaned, compact_json


@runtime_checkable
class Shortener(Protocol):
    def shorten(self, text: str, limit: int) -> str:
        """At most `limit` characters for a text that has more."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Shortens nothing: the model is shown all of it, however long."""

    name: ClassVar[str] = "none"

    def shorten(self, text: str, limit: int) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Tail:
    """The end: for what is read from the end, as logs are."""

    name: ClassVar[str] = "tail"

    def shorten(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        room = limit - len(_first_left_out(len(text)))
        if room <= 0:
            return text[len(text) - limit :]
        return f"{_first_left_out(len(text) - room)}{text[len(text) - room :]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAndTail:
    """The beginning and the end, and between them how much is left out, and from where on."""

    name: ClassVar[str] = "head_and_tail"
    head: float = 0.6
    """The beginning's share of what is shown."""

    def __post_init__(self) -> None:
        if isinstance(self.head, bool) or not isinstance(self.head, int | float) or not 0 <= self.head <= 1:
            raise ValueError(f"HeadAndTail(head={self.head!r}): give a share from 0 to 1")

    def shorten(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        room = limit - len(_left_out(len(text), len(text)))
        if room <= 0:
            return text[:limit]
        head = round(room * self.head)
        tail = room - head
        return f"{text[:head]}{_left_out(len(text) - room, head)}{text[len(text) - tail :]}"


@dataclass(frozen=True, slots=True)
class Structured:
    """JSON stays JSON: all keys of the upper levels, the first items, the beginnings of long texts.

    What is left out says so where it stood: a text in a list, a key `...` in an object. What is no JSON object or list,
    or does not get short enough so, is shown by head and tail.
    """

    name: ClassVar[str] = "structured"

    def shorten(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        try:
            value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
            if isinstance(value, dict | list):
                for measure in _MEASURES:
                    short = compact_json(_cut(value, *measure))
                    if len(short) <= limit:
                        return cleaned(short)
        except (ValueError, RecursionError):
            pass  # no JSON, or none that can be gone through
        return HeadAndTail().shorten(text, limit)


SHORTENERS: Final[Mapping[str, Shortener]] = {
    shortener.name: shortener for shortener in (Whole(), Tail(), HeadAndTail(), Structured())
}


def shortener_of(given: object) -> Shortener:
    """The shortener a word stands for, or an app's own.

    Raises:
        ValueError: it is neither; the message names the words there are.
    """
    if isinstance(given, str):
        if given not in SHORTENERS:
            raise ValueError(f"there is no shortener {given!r}; there are {', '.join(SHORTENERS)}")
        return SHORTENERS[given]
    if isinstance(given, type) or not isinstance(given, Shortener):
        raise ValueError(f"{given!r} is no shortener; give an object with a method shorten, or a word")
    return given


def shortened(shortener: Shortener, text: str, limit: int) -> str:
    """What a shortener makes of a text; by head and tail where it raises, or gives no text or a longer one."""
    try:
        short: object = shortener.shorten(text, limit)
    except Exception:  # noqa: BLE001 - code of the app's; the result must not be lost over it
        short = None
    if not isinstance(short, str) or len(short) > len(text):
        return HeadAndTail().shorten(text, limit)
    return cleaned(str.__str__(short))


_MEASURES: Final = (
    *((size, size * 40, depth) for size, depth in ((200, 12), (100, 10), (50, 8), (25, 7), (12, 6), (6, 5))),
    *((3, 80, 4), (2, 40, 3), (1, 20, 2), (1, 20, 1)),
)
"""Ever less: how many items of a list or object, how much of a text, how many levels."""


def _cut(value: Any, items: int, characters: int, levels: int) -> Any:
    match value:
        case str() if len(value) > characters + len(_more(len(value), "characters")):
            return f"{value[:characters]} {_more(len(value) - characters, 'characters')}"
        case list() | dict() if value and not levels:
            return f"[... {len(value):,} {'items' if isinstance(value, list) else 'keys'}]"
        case list():
            kept = [_cut(one, items, characters, levels - 1) for one in value[:items]]
            return kept if len(value) <= items else [*kept, _more(len(value) - items, "items")]
        case dict():
            # Names say most: there may be more of them than items of a list.
            names = list(value)[: items * 4]
            held = {name: _cut(value[name], items, characters, levels - 1) for name in names}
            if len(value) > len(names):
                held[_new_key(value)] = _more(len(value) - len(names), "keys")
            return held
    return value


def _new_key(value: Mapping[str, object]) -> str:
    key = "..."
    while key in value:
        key += "."
    return key


def _more(count: int, of: str) -> str:
    return f"[... {count:,} more {of}]"


def _left_out(count: int, offset: int) -> str:
    return f"\n[... {count:,} characters from offset {offset} on are left out ...]\n"


def _first_left_out(count: int) -> str:
    return f"[... the first {count:,} characters are left out ...]\n"


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large")
    return number
