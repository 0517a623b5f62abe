"""When each unit was last used: what the arguments of later calls say of earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pydantic_core

from power_loop.compaction.window import Unit

LEAST: Final = 3
"""Characters of a text that can tell one thing from another."""


def last_uses(units: Sequence[Unit]) -> Sequence[int]:
    """For each unit the number of the last one that used it: itself, or a later call with one of its texts."""
    last: dict[str, int] = {}
    told: list[frozenset[str]] = []
    for number, unit in enumerate(units):
        told.append(frozenset(_arguments(unit)))
        last.update(dict.fromkeys(told[-1], number))
    return [max((last[text] for text in texts), default=number) for number, texts in enumerate(told)]


def _arguments(unit: Unit) -> Iterator[str]:
    """The texts among the arguments of a unit's calls."""
    if unit.entries[0].role != "assistant":
        return
    for call in pydantic_core.from_json(unit.entries[0].wire).get("tool_calls", ()):
        try:
            given = pydantic_core.from_json(call["function"]["arguments"])
        except ValueError:
            continue  # the model wrote no JSON
        yield from _texts(given)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) >= LEAST:
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
