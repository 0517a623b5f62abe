"""One call of `recover`: the sessions that it takes up, those that a recovery died over before alone and last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.model.book.book import Book
from tests.model.book.parts import Op, Said


class Recovery:
    def __init__(self, book: Book, op: Op, words: Mapping[str, str], alive: Callable[[int], bool]) -> None:
        self.op = op
        self._book = book
        self._words = words
        self._alive = alive
        self._entries: list[Any] = []
        self._later: list[str] = []
        self._left: set[str] = set()

    def begin(self, found: list[str]) -> None:
        tries = {s: self._book.sessions[s]["recoveries"] for s in found}
        self._later = sorted((s for s in found if tries[s]), key=tries.__getitem__)
        first = [s for s in found if not tries[s]]
        self._left = set(first)
        for s in first:
            self._take_up(s)
        if not first:
            self._further()

    def _take_up(self, s: str) -> None:
        names = {self._book.sessions[s]["calls"][call]["name"] for call in self._book.open_calls(s)}
        asked = {self._words.get(name, self._words["*"]) for name in names} or {self._words["*"]}
        way = max(asked, key=("resume", "abort", "report").index)
        if way == "resume":
            op = Op(self.op.number, self.op.hand, s, "orphan", parent=self._ended)
            self._book.enter(op, self._book.orphan(op, self._alive))
        else:
            self._written_down(s, way)
            self._done_with(s)

    def _written_down(self, s: str, way: str) -> None:
        row = self._book.sessions[s]
        if row["owner"] is None:
            return
        if way == "abort":
            self._book.abort(s)
        else:
            self._book.interrupt(s)
            row["owner"] = None
        self._tell(s, way, None)

    def _ended(self, op: Op, outcome: Said) -> None:
        s = op.session
        if outcome[0] == "done":
            if outcome[1] is not None:
                self._tell(s, *outcome[1])
        elif outcome[1] in ("session.closed", "session.archived"):
            self._written_down(s, "report")
        elif outcome[1] == "session.quarantined":
            self._tell(s, "quarantine", outcome[1])
        else:
            self._entries.append((s, "resume", (), outcome[1]))
        self._done_with(s)

    def _tell(self, s: str, action: str, error: str | None) -> None:
        self._entries.append((s, action, tuple(self._book.open_calls(s)), error))

    def _done_with(self, s: str) -> None:
        self._left.discard(s)
        if not self._left:
            self._further()

    def _further(self) -> None:
        """The next of those that are taken up alone; after the last the call returns."""
        if self._later:
            s = self._later.pop(0)
            self._left.add(s)
            self._take_up(s)
        else:
            entries = tuple(sorted(self._entries, key=repr))
            self._book.expected["op", self.op.hand.name, self.op.number, "done", entries] += 1
