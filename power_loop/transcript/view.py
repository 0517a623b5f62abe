"""A session's active messages in the model's order, kept as the JSON texts that requests are joined from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from power_loop.transcript.measure import tokens


class Entry(NamedTuple):
    """One active message. `wire` is what this session's model is sent. A plain tuple: there may be thousands."""

    place: int
    seq: int
    role: str
    wire: str
    pinned: bool = False
    note: bool = False


class View:
    """Grows at the end and shrinks in compactions; what is already in it is never parsed or written again."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = sorted(entries, key=_place)
        self._texts = [entry.wire for entry in self._entries]

    def add(self, entry: Entry) -> None:
        """Results of calls may come in any order; each takes the place its answer reserved."""
        at = len(self._entries)
        if at and entry.place <= self._entries[-1].place:
            at = bisect_left(self._entries, entry.place, key=_place)
        self._put(at, entry)

    def fold(self, folded: Iterable[int], note: Entry) -> None:
        """Put a note in the place of the messages with these sequence numbers."""
        gone = frozenset(folded)
        self._entries = [entry for entry in self._entries if entry.seq not in gone]
        self._texts = [entry.wire for entry in self._entries]
        self._put(bisect_left(self._entries, note.place, key=_place), note)

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

    def last_input(self) -> int:
        """The sequence number of the newest message by the user; 0 if there is none."""
        return next((entry.seq for entry in reversed(self._entries) if entry.role == "user" and not entry.note), 0)

    def tokens_after(self, seq: int) -> int:
        """An estimate for the messages stored after one."""
        total = 0
        for entry in reversed(self._entries):
            if entry.seq <= seq:
                break
            total += tokens(entry.wire)
        return total

    def _put(self, at: int, entry: Entry) -> None:
        self._entries.insert(at, entry)
        self._texts.insert(at, entry.wire)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)


_place = attrgetter("place")
