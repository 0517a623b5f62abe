"""What must be true of the file, whenever all that was expected was heard, and after a death."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from tests.model.stage import Stage


class Checks(Stage):
    def look(self) -> None:
        """The file is what the book says, and it is sound."""
        assert self.shelf is not None
        found = self.shelf.sessions()
        assert found == self.book.sessions, self.missing()
        problems = self.shelf.wrong(whole=not self.hands)
        assert not problems, problems
        for s, info in self.shelf.told().items():
            self.statistics[f"state: {info.state}"] += 1
            told = (str(info.state), [call.id for call in info.pending], info.queued, info.recoveries)
            row = self.book.sessions[s]
            assert told == (self.book.state(s), self.book.open_calls(s), len(row["waiting"]), row["recoveries"])
            for call in info.pending:
                running = s in self.book.running
                assert (call.state == "in_doubt") == (row["calls"][call.id]["attempt"] > 0 and not running)
            assert bool(info.pending) == bool(self.shelf.sessions_open(s))
        for row in self.book.sessions.values():
            texts = [said for role, said, _ in row["messages"] if role == "user"] + [w["text"] for w in row["waiting"]]
            assert all(count == 1 for count in Counter(map(str, texts)).values()), f"stored twice: {texts}"
            for call, attempts in ((call, shown["attempt"]) for call, shown in row["calls"].items()):
                assert self.entries[call] <= attempts, f"{call} was entered {self.entries[call]} times"
        numbers = self.shelf.numbers()
        for s, before in self.numbers.items():
            assert s not in numbers or all(a >= b for a, b in zip(numbers[s], before, strict=True)), f"{s} went back"
        self.numbers = numbers
        self.last = copy.deepcopy(found)

    def missing(self) -> str:
        """What did not happen."""
        assert self.shelf is not None
        return f"not heard: {list(+self.book.expected)}; {difference(self.book.sessions, self.shelf.sessions())}"


def kept(s: str, before: Any, after: Any, own: set[str | None]) -> list[str]:
    """What a death took that had been stored; none of it may be gone."""
    if after is None:
        return [f"session {s} is gone"]
    wrong = []
    size = len(before["messages"])
    if after["messages"][:size] != before["messages"]:
        wrong.append(f"messages of {s} changed: {before['messages']} -> {after['messages']}")
    if after["usage"][: len(before["usage"])] != before["usage"]:
        wrong.append(f"usage of {s} is lost")
    if len(after["turns"]) < len(before["turns"]):
        wrong.append(f"turns of {s} are lost")
    for call, row in before["calls"].items():
        now = after["calls"].get(call)
        if now is None or now["attempt"] < row["attempt"] or (row["settled_by"] and now != row):
            wrong.append(f"call {call} of {s} was {row} and is {now}")
    texts = [said for _, said, _ in after["messages"]] + [one["text"] for one in after["waiting"]]
    gone = [one for one in before["waiting"] if one["text"] not in texts and one["text"] not in own]
    return wrong + [f"{one} of {s} was stored and is gone" for one in gone]


def difference(book: Any, found: Any) -> str:
    """Where the file is not as the book says."""
    lines = [f"sessions: book {sorted(book)}, file {sorted(found)}"] if set(book) != set(found) else []
    for s in book.keys() & found.keys():
        lines += [
            f"{s} {part}:\n  book {book[s][part]}\n  file {found[s][part]}"
            for part in book[s]
            if book[s][part] != found[s][part]
        ]
    return "\n".join(["the file is not as the book says", *lines])
