"""The strategies that need no model: each is a value with one method, and a promise about what it keeps.

All of them fold whole units only, and an earlier note with whatever they fold: it is carried into theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Final

import pydantic_core

from power_loop.compaction.notes import carried
from power_loop.compaction.window import Folding, Unit, Window
from power_loop.transcript.view import Entry

SIZE_CLEARED: Final = 30
"""Tokens that the text in a cleared result's place takes, about."""

NOTE_SHARE: Final = 8
"""An earlier note may take an eighth of the target when a strategy carries it on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFirstAndLast:
    """Keeps the first `first` units after the system prompt, and the newest that fit the target; folds the middle."""

    name: ClassVar[str] = "keep_first_and_last"
    first: int = 1

    def __post_init__(self) -> None:
        _at_least(self, "first", self.first, 0)

    async def fold(self, window: Window) -> Folding | None:
        own = [unit for unit in window.units if unit.entries[0].role != "system" and not unit.note]
        head = {id(unit) for unit in own[: self.first]}
        middle = [unit for unit in window.foldable if id(unit) not in head]
        return dropped(window, _oldest(window, middle))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRecentlyUsed:
    """Folds the units that were used longest ago, one after the other, until the target is reached.

    A unit is used when it is written, and again by every later call with one of the same texts among its arguments: a
    file that was read long ago and edited just now is in use.
    """

    name: ClassVar[str] = "least_recently_used"

    async def fold(self, window: Window) -> Folding | None:
        used = _last_uses(window.units)
        by_use = sorted(window.foldable, key=lambda unit: used[id(unit)])
        chosen = {id(unit) for unit in _oldest(window, by_use)}
        return dropped(window, [unit for unit in window.foldable if id(unit) in chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow:
    """Keeps the newest `turns` turns, from a user's message to the next; folds all before them."""

    name: ClassVar[str] = "sliding_window"
    turns: int = 4

    def __post_init__(self) -> None:
        _at_least(self, "turns", self.turns, 1)

    async def fold(self, window: Window) -> Folding | None:
        starts = [number for number, unit in enumerate(window.units) if unit.said]
        first = starts[-self.turns] if len(starts) > self.turns else 0
        return dropped(window, [unit for unit in window.units[:first] if not unit.kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class UserWords:
    """Keeps what users said, word for word, the newest `tokens` of it; of the rest the newest that fit the target."""

    name: ClassVar[str] = "user_words"
    tokens: int = 20_000

    def __post_init__(self) -> None:
        _at_least(self, "tokens", self.tokens, 0)

    async def fold(self, window: Window) -> Folding | None:
        room, words = self.tokens, set()
        for unit in reversed(window.foldable):
            if unit.said:
                room -= unit.tokens
                if room < 0:
                    break
                words.add(id(unit))
        others = [unit for unit in window.foldable if id(unit) not in words]
        return dropped(window, _oldest(window, others))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearToolResults:
    """Puts a short text in the place of old tool results, the newest `keep` of them excepted; folds nothing else.

    Only results larger than `over` tokens. Oldest first, until the target is reached. The model is told how to read
    one again. With `keep=0` even results that the model has not seen yet may go: for when nothing else is left.
    """

    name: ClassVar[str] = "clear_tool_results"
    keep: int = 3
    over: int = 100

    def __post_init__(self) -> None:
        _at_least(self, "keep", self.keep, 0)
        _at_least(self, "over", self.over, 0)

    async def fold(self, window: Window) -> Folding | None:
        results = [entry for unit in window.units for entry in unit.entries if entry.role == "tool"]
        spared = {entry.seq for entry in results[len(results) - self.keep :]}
        if self.keep and window.units:
            spared |= {entry.seq for entry in window.units[-1].entries}
        cleared: dict[int, Entry] = {}
        left = window.tokens
        for entry in results:
            if left <= window.target:
                break
            size = window.size(entry.wire)
            if size > self.over and not entry.note and entry.seq not in spared:
                cleared[entry.seq] = entry
                left -= size - SIZE_CLEARED
        texts = {seq: cleared_text(None if window.handle is None else window.handle(seq)) for seq in cleared}
        return Folding(folded=list(cleared.values()), results=texts) if cleared else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """Folds nothing."""

    name: ClassVar[str] = "none"

    async def fold(self, window: Window) -> Folding | None:
        return None


def cleared_text(handle: str | None) -> str:
    again = "" if handle is None else f'; recall_output(handle="{handle}") reads it again'
    return f"[This result was cleared to save room{again}.]"


def dropped(window: Window, units: Sequence[Unit]) -> Folding | None:
    """These units go, with the earlier note, and a note says so; None if that is nothing but the note."""
    if all(unit.note for unit in units):
        return None
    chosen = {id(unit) for unit in units}
    folded = [unit for unit in window.units if id(unit) in chosen or (unit.note and not unit.kept)]
    return Folding(
        folded=[entry for unit in folded for entry in unit.entries],
        note=carried(folded, tokens=window.target // NOTE_SHARE),
    )


def _oldest(window: Window, units: Sequence[Unit]) -> Sequence[Unit]:
    """As many of these, from the first, as must go to reach the target; room for the note included."""
    note = sum(unit.tokens for unit in window.units if unit.note)
    excess = window.tokens - window.target + window.target // NOTE_SHARE
    freed = list(accumulate((0 if unit.note else unit.tokens for unit in units), initial=note))
    enough = next((count for count, size in enumerate(freed) if size >= excess), len(units))
    return units[:enough]


def _last_uses(units: Sequence[Unit]) -> dict[int, int]:
    """For each unit, by its identity, the number of the last unit that used it."""
    last: dict[str, int] = {}
    texts: list[set[str]] = []
    for number, unit in enumerate(units):
        texts.append(set(_arguments(unit)))
        for text in texts[-1]:
            last[text] = number
    return {id(unit): max((last[text] for text in texts[number]), default=number) for number, unit in enumerate(units)}


def _arguments(unit: Unit) -> Iterator[str]:
    """The texts among the arguments of a unit's calls."""
    if '"tool_calls":[' not in unit.entries[0].wire:
        return
    for call in pydantic_core.from_json(unit.entries[0].wire).get("tool_calls", ()):
        try:
            given = pydantic_core.from_json(call["function"]["arguments"])
        except ValueError:
            continue
        yield from _texts(given)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) > 2:
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)


def _at_least(of: object, name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{type(of).__name__}({name}={value!r}): give a whole number of at least {least}")
