"""What each strategy promises in its docstring, written down a second time: as a check of what it did to a window."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from llm_client.messages import ToolMessage, parse
from power_loop.compaction.ladder import Compaction, Strategy
from power_loop.compaction.notes import HEADING, LEFT_OUT, note_message
from power_loop.compaction.strategies import (
    ClearToolResults,
    KeepFirstAndLast,
    LeastRecentlyUsed,
    Never,
    SlidingWindow,
    UserWords,
)
from power_loop.compaction.summary import Summary
from power_loop.compaction.window import Unit, Window
from tests.compaction.kit import Summariser


def gone_and_left(done: Compaction, window: Window) -> tuple[Sequence[Unit], Sequence[Unit]]:
    """Of the units that may go and are no note: those that went, and those that did not. None is parted."""
    folded = set(done.folded)
    parted = [unit for unit in window.units if 0 < sum(e.seq in folded for e in unit.entries) < len(unit.entries)]
    assert parted == []
    own = [unit for unit in window.foldable if not unit.note]
    return [u for u in own if u.entries[0].seq in folded], [u for u in own if u.entries[0].seq not in folded]


def only_as_much_as_needed(gone: Sequence[Unit], order: Sequence[Unit], done: Compaction, window: Window) -> None:
    """The first of that order went; without the last of them the target would have been missed."""
    assert set(map(_seq, gone)) == set(map(_seq, order[: len(gone)]))
    assert done.after_tokens + order[len(gone) - 1].tokens > window.target
    nonsense = window.tokens < sum(unit.tokens for unit in window.units)
    assert done.after_tokens <= window.target or len(gone) == len(order) or nonsense, "more could have gone"


def _seq(unit: Unit) -> int:
    return unit.entries[0].seq


def kept_first_and_last(how: KeepFirstAndLast, done: Compaction, window: Window) -> None:
    gone, _ = gone_and_left(done, window)
    first = [unit for unit in window.units if unit.entries[0].role != "system" and not unit.note][: how.first]
    assert not {*map(_seq, gone)} & {*map(_seq, first)}, "the first stay"
    only_as_much_as_needed(gone, [u for u in window.foldable if not u.note and u not in first], done, window)


def folded_by_last_use(_: LeastRecentlyUsed, done: Compaction, window: Window) -> None:
    gone, _left = gone_and_left(done, window)

    def paths(unit: Unit) -> set[Any]:
        calls = json.loads(unit.entries[0].wire).get("tool_calls", ())
        return {json.loads(call["function"]["arguments"]).get("path") for call in calls} - {None}

    def last_use(unit: Unit) -> int:
        later = [n for n, other in enumerate(window.units) if paths(unit) & paths(other)]
        return max([*later, window.units.index(unit)])

    order = sorted((unit for unit in window.foldable if not unit.note), key=last_use)
    only_as_much_as_needed(gone, order, done, window)


def slid(how: SlidingWindow, done: Compaction, window: Window) -> None:
    gone, left = gone_and_left(done, window)
    starts = [unit.entries[0].place for unit in window.units if unit.entries[0].role == "user" and not unit.note]
    since = starts[-how.turns]
    assert all(unit.entries[0].place < since for unit in gone), "the newest turns stay whole"
    assert all(unit.entries[0].place >= since for unit in left), "all before them goes"


def kept_words(how: UserWords, done: Compaction, window: Window) -> None:
    gone, _ = gone_and_left(done, window)
    words = [unit for unit in window.foldable if unit.entries[0].role == "user" and not unit.note]
    kept = []
    for unit in reversed(words):
        if sum(other.tokens for other in (*kept, unit)) > how.tokens:
            break
        kept.append(unit)
    assert not {*map(_seq, gone)} & {*map(_seq, kept)}, "they are the very same rows"
    only_as_much_as_needed(gone, [u for u in window.foldable if not u.note and u not in kept], done, window)


def cleared_results(how: ClearToolResults, done: Compaction, window: Window) -> None:
    entries = {entry.seq: entry for unit in window.units for entry in unit.entries}
    results = [entry for entry in entries.values() if entry.role == "tool"]
    spared = {entry.seq for entry in results[-how.keep :]} if how.keep else set()
    assert not spared & set(done.folded), "the newest stay"
    if how.keep:
        assert not {e.seq for unit in window.units if unit.newest for e in unit.entries} & set(done.folded)
    assert list(done.folded) == sorted(done.folded, key=lambda seq: entries[seq].place)
    for seq, stead in zip(done.folded, done.steads, strict=True):
        before, after = parse(entries[seq].wire), parse(stead.wire)
        assert isinstance(before, ToolMessage)
        assert isinstance(after, ToolMessage)
        assert (stead.place, stead.role) == (entries[seq].place, "tool"), "nothing but results is touched"
        assert before.tool_call_id == after.tool_call_id
        assert not entries[seq].note
        assert window.size(entries[seq].wire) > max(how.over, window.size(stead.wire))
        assert f'recall_output(handle="1.{seq}")' in str(after.content)
    last = entries[done.folded[-1]].wire
    assert done.after_tokens + window.size(last) - window.size(done.steads[-1].wire) > window.target


def summed_up(_: Summary, done: Compaction, window: Window) -> None:
    gone, left = gone_and_left(done, window)
    summariser = window.summarise
    assert isinstance(summariser, Summariser)
    asked, most = summariser.asked[-1]
    assert [entry.seq for entry in asked] == list(done.folded), "the model is asked about what goes"
    assert most >= window.target // 4
    assert done.steads[0].wire.startswith(note_message(f"summary {len(summariser.asked)}")[:-2])
    newest = sum(unit.tokens for unit in window.units if left and unit.entries[0].place >= left[0].entries[0].place)
    assert newest <= window.target // 2, "the newest that stay fit a half of the target"
    more = sum(unit.tokens for unit in window.units if unit.entries[0].place >= gone[-1].entries[0].place)
    assert more > window.target // 2, "and more would not"
    if left:
        assert gone[-1].entries[0].place < left[0].entries[0].place


def never(_: Never, done: Compaction, window: Window) -> None:
    raise AssertionError("it folds nothing")


PROMISES: Final[dict[type, Callable[[Any, Compaction, Window], None]]] = {
    KeepFirstAndLast: kept_first_and_last,
    LeastRecentlyUsed: folded_by_last_use,
    SlidingWindow: slid,
    UserWords: kept_words,
    ClearToolResults: cleared_results,
    Summary: summed_up,
    Never: never,
}


def check_promise(strategy: Strategy, done: Compaction, window: Window, note: str | None) -> None:
    """`note`: what the earlier note said, with its heading."""
    PROMISES[type(strategy)](strategy, done, window)
    if not isinstance(strategy, (Summary, ClearToolResults)):
        (stead,) = done.steads
        said = str(parse(stead.wire).content)
        assert said.startswith(HEADING)
        assert said.endswith(LEFT_OUT)
        if note is not None:
            earlier = note.removeprefix(HEADING).replace(LEFT_OUT, "").strip()
            carried = said.removeprefix(HEADING).replace(LEFT_OUT, "").strip()
            assert carried[:8] == earlier[:8], "what the earlier note says is carried on"
            assert carried == earlier or window.size(earlier) > window.target // 8, "whole, if it is short enough"


def check_counts(done: Compaction, window: Window) -> None:
    """The counts of a compaction are what the window measures."""
    entries = {entry.seq: entry for unit in window.units for entry in unit.entries}
    assert len(done.folded) == len(set(done.folded))
    assert done.before_tokens == window.tokens
    freed = sum(window.size(entries[seq].wire) for seq in done.folded)
    put = sum(window.size(stead.wire) for stead in done.steads)
    assert done.after_tokens == max(0, window.tokens - freed) + put
    assert done.after_tokens < done.before_tokens
    places = [entries[seq].place for seq in done.folded]
    assert places == sorted(places)
    assert [stead.place for stead in done.steads] in ([places[0]], places)
