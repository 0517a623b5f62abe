"""Strategies in order, the cheap ones first: which folding is taken, checked whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from power_loop.compaction.notes import note_message, result_message
from power_loop.compaction.window import Folding, NotFolded, Window
from power_loop.transcript.view import Entry
from power_loop.values import cleaned


@runtime_checkable
class Strategy(Protocol):
    """How to make room. A small value: the same window always gives the same folding, but for what a model says."""

    @property
    def name(self) -> str:
        """As compactions and events tell it."""
        ...

    async def fold(self, window: Window) -> Folding | None:
        """What to fold, or None if there is nothing it would. It reads and asks; it changes nothing.

        Raises:
            NotFolded: it would have, and could not. Whatever else it raises counts as that.
        """
        ...


class Stead(NamedTuple):
    """A message that stands in the place of folded ones."""

    place: int
    role: str
    wire: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """A folding that can be recorded."""

    strategy: str
    folded: tuple[int, ...]
    """Sequence numbers, in the order of the view."""
    steads: tuple[Stead, ...]
    before_tokens: int
    after_tokens: int


class Tried(NamedTuple):
    """What became of a ladder: the compaction to record, if any, and why others failed."""

    compaction: Compaction | None
    failures: Sequence[tuple[str, str]]
    """Name of the strategy, reason."""


async def climb(strategies: Sequence[Strategy], window: Window) -> Tried:
    """Try strategies in order. The first that reaches the target is taken; if none does, the one that frees most."""
    best: Compaction | None = None
    failures: list[tuple[str, str]] = []
    for strategy in strategies:
        name = "a strategy"
        try:
            name = cleaned(str(strategy.name))
            folding = await strategy.fold(window)
            if folding is None:
                continue
            found = checked(name, folding, window)
        except NotFolded as reason:
            failures.append((name, cleaned(str(reason))))
            continue
        except Exception as error:  # noqa: BLE001 - an app's own strategy may raise anything; nothing is folded then
            failures.append((name, _told(error)))
            continue
        if best is None or found.after_tokens < best.after_tokens:
            best = found
        if found.after_tokens <= window.target:
            break
    return Tried(best, failures)


def _told(error: Exception) -> str:
    try:
        words = cleaned(str(error))
    except Exception:  # noqa: BLE001 - even that is an app's own
        words = "and cannot say why"
    return f"it raised {type(error).__name__}: {words}"


def checked(strategy: str, folding: Folding, window: Window) -> Compaction:
    """The compaction that a folding comes to. Of the messages it names, only their numbers are taken on trust.

    Raises:
        NotFolded: it would split a pair, fold what must stay, leave two notes, or free nothing.
    """
    folded = {entry.seq for entry in folding.folded}
    if not folded or len(folded) != len(folding.folded) or (folding.note is None) == (not folding.results):
        raise NotFolded("it gave a folding of nothing, of a message twice, or without what stands in its place")
    entries = [entry for unit in window.units for entry in unit.entries if entry.seq in folded]
    if len(entries) != len(folded):
        raise NotFolded("it folded messages that are not in the window")
    if folding.note is None:
        steads = _results(entries, folding.results, window)
    else:
        steads = (_note(entries, folding.note, window),)
    freed, put = window.measured(entries), sum(window.size(stead.wire) for stead in steads)
    after = max(0, window.tokens - freed) + put
    if after >= window.tokens:
        raise NotFolded("what it would put in the place of messages is no shorter than they are")
    return Compaction(
        strategy=strategy,
        folded=tuple(entry.seq for entry in entries),
        steads=steads,
        before_tokens=window.tokens,
        after_tokens=after,
    )


def _note(folded: Sequence[Entry], text: str, window: Window) -> Stead:
    """A note in the place of whole units, an earlier note among them."""
    if not text.strip():
        raise NotFolded("its note says nothing")
    gone = {entry.seq for entry in folded}
    for unit in window.units:
        going = sum(entry.seq in gone for entry in unit.entries)
        if going and unit.kept:
            raise NotFolded(f"it folded message {unit.entries[0].seq}, which must stay")
        if 0 < going < len(unit.entries):
            raise NotFolded(f"it parted message {unit.entries[0].seq} from its results")
        if unit.note and not going:
            raise NotFolded("it left the earlier note beside its own")
    return Stead(folded[0].place, "user", note_message(text))


def _results(folded: Sequence[Entry], texts: Mapping[int, str], window: Window) -> tuple[Stead, ...]:
    """Results in the place of results: calls and answers stay paired."""
    if set(texts) != {entry.seq for entry in folded}:
        raise NotFolded("it gave no text for a result that it folded, or one for a result that it did not fold")
    if any(entry.role != "tool" or entry.pinned or entry.note for entry in folded):
        raise NotFolded("it cleared a message that is no result, is pinned, or was cleared before")
    if any(entry.seq in texts for unit in window.units if unit.open for entry in unit.entries):
        raise NotFolded("it cleared a result beside a call that is still open")
    return tuple(Stead(entry.place, "tool", result_message(entry, texts[entry.seq])) for entry in folded)
