"""A session's active messages in the model's order, kept as the JSON texts that requests are joined from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple

from power_loop.transcript.measure import CAREFUL, Measure
from power_loop.transcript.recall import RECALLED_BY


class Entry(NamedTuple):
    """One active message. `wire` is what this session's model is sent. A plain tuple: there may be thousands."""

    place: int
    seq: int
    role: str
    wire: str
    pinned: bool = False
    note: bool = False
    """It stands in the place of folded ones."""


class View:
    """Grows at the end and shrinks in compactions; what is already in it is never parsed or written again."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._fill(entries)

    def add(self, entry: Entry) -> None:
        """Results of calls may come in any order; each takes the place its answer reserved."""
        at = len(self._entries)
        if at and entry.place <= self._entries[-1].place:
            at = bisect_left(self._entries, entry.place, key=_place)
        self._put(at, entry)

    def fold(self, folded: Iterable[int], steads: Iterable[Entry]) -> None:
        """Put others in the place of the messages with these sequence numbers."""
        gone = frozenset(folded)
        self._fill((*(entry for entry in self._entries if entry.seq not in gone), *steads))

    def texts(self) -> tuple[str, ...]:
        """The messages of the next request."""
        return tuple(self._texts)

    def units(self) -> Iterator[Sequence[Entry]]:
        """What must stay or go together: an answer with the results of its calls, or one message."""
        index = 0
        while index < len(self._entries):
            end = index + 1
            while end < len(self._entries) and self._entries[end].role == "tool":
                end += 1
            yield self._entries[index:end]
            index = end

    def unanswered(self, answered: int | None = None) -> frozenset[int]:
        """The sequence numbers of the user's messages that no last word has followed: what the model works on.

        `answered`: where the last turn that was answered has its answer, which may be a call that ended it; what is
        said before that may be no last word. None: nobody knows, and any answer without calls counts as one.
        """
        found = set()
        for entry in reversed(self._entries):
            if answered is not None:
                if not entry.note and entry.seq <= answered:
                    break
            elif entry.role == "assistant" and '"tool_calls":[' not in entry.wire:
                break
            if entry.role == "user" and not entry.note:
                found.add(entry.seq)
        return frozenset(found)

    @property
    def answers(self) -> bool:
        """Whether the model has said anything here."""
        return any(entry.role == "assistant" for entry in reversed(self._entries))

    def last_answer(self) -> tuple[Entry, Sequence[Entry]]:
        """The newest answer, and the results of its calls."""
        entries = self._entries
        at = next(index for index in range(len(entries) - 1, -1, -1) if entries[index].role == "assistant")
        return entries[at], list(takewhile(lambda entry: entry.role == "tool", entries[at + 1 :]))

    def since(self, seq: int) -> Iterator[Entry]:
        """The messages that stand behind that one, the last first."""
        return takewhile(lambda entry: entry.seq > seq, reversed(self._entries))

    def tokens_after(self, seq: int, measure: Measure = CAREFUL) -> int:
        """An estimate for the messages stored after one."""
        return sum(measure.tokens(entry.wire) for entry in self.since(seq))

    @property
    def shortened(self) -> bool:
        """Some result stands here in short, and says how the model can read it whole."""
        return self._shortened > 0

    def _fill(self, entries: Iterable[Entry]) -> None:
        self._entries = sorted(entries, key=_place)
        self._texts = [entry.wire for entry in self._entries]
        self._shortened = sum(map(_is_shortened, self._entries))

    def _put(self, at: int, entry: Entry) -> None:
        self._entries.insert(at, entry)
        self._texts.insert(at, entry.wire)
        self._shortened += _is_shortened(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)


_place = attrgetter("place")


def _is_shortened(entry: Entry) -> bool:
    return entry.role == "tool" and RECALLED_BY in entry.wire
