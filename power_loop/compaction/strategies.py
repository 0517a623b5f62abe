"""The strategies that need no model: each is a value with one method, and a promise about what it keeps.

All of them fold whole units only, and an earlier note with whatever they fold: it is carried into theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from power_loop.compaction.notes import carried, note_message, result_message
from power_loop.compaction.uses import last_uses
from power_loop.compaction.window import Folding, Unit, Window
from power_loop.transcript.view import Entry


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
        used = last_uses(window.units)
        by_use = sorted(range(len(used)), key=used.__getitem__)
        return dropped(window, _oldest(window, [window.units[n] for n in by_use if not window.units[n].kept]))


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
        results = [entry for unit in window.units if not unit.open for entry in unit.entries if entry.role == "tool"]
        spared = {entry.seq for entry in results[max(0, len(results) - self.keep) :]}
        if self.keep:
            spared |= {entry.seq for unit in window.units if unit.newest for entry in unit.entries}
        texts: dict[int, str] = {}
        cleared: list[Entry] = []
        left = window.tokens
        for entry in results:
            if left <= window.target:
                break
            if entry.note or entry.pinned or entry.seq in spared or (size := window.size(entry.wire)) <= self.over:
                continue
            text = cleared_text(None if window.handle is None else window.handle(entry.seq))
            if (gain := size - window.size(result_message(entry, text))) > 0:
                left -= gain
                texts[entry.seq] = text
                cleared.append(entry)
        return Folding(folded=cleared, results=texts) if cleared else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """Folds nothing."""

    name: ClassVar[str] = "none"

    async def fold(self, window: Window) -> Folding | None:
        return None


def cleared_text(handle: str | None) -> str:
    again = "" if handle is None else f'; recall_output(handle="{handle}") reads it again'
    return f"[This result was cleared to save room{again}.]"


def dropped(window: Window, units: Collection[Unit]) -> Folding | None:
    """These units go, with the earlier note, and a note says so; None if that is nothing but the note."""
    if all(unit.note for unit in units):
        return None
    chosen = {id(unit) for unit in units}
    folded = [unit for unit in window.units if unit.note or id(unit) in chosen]
    return Folding(folded=[entry for unit in folded for entry in unit.entries], note=carried(window))


def _oldest(window: Window, units: Sequence[Unit]) -> Sequence[Unit]:
    """As many of these, from the first, as must go to reach the target; room for the note included."""
    earlier = sum(unit.tokens for unit in window.units if unit.note)
    excess = window.tokens - window.target + window.size(note_message(carried(window)))
    freed = accumulate((0 if unit.note else unit.tokens for unit in units), initial=earlier)
    enough = next((count for count, size in enumerate(freed) if size >= excess), len(units))
    return units[:enough]


def _at_least(of: object, name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{type(of).__name__}({name}={value!r}): give a whole number of at least {least}")
