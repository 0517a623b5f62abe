"""Histories as a session grows them, and what a fresh process would read again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from llm_client.messages import (
    AssistantMessage,
    ImagePart,
    ImageUrl,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    parse,
    wire,
)
from power_loop.compaction.ladder import Compaction, Strategy, Tried, climb
from power_loop.compaction.window import NotFolded, Window
from power_loop.transcript.rules import violations
from power_loop.transcript.view import Entry, View

T = TypeVar("T")


def run(work: Awaitable[T]) -> T:
    """The value of something that awaits nothing which is not there at once: cheaper than an event loop."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits for something")


@dataclass
class Summariser:
    """A model's summaries by a script: numbered, as long as asked for or not, and now and then none at all."""

    length: int = 200
    asked: list[tuple[Sequence[Entry], int]] = field(default_factory=list)
    fails: bool = False

    async def __call__(self, entries: Sequence[Entry], max_tokens: int) -> str:
        self.asked.append((entries, max_tokens))
        if self.fails:
            raise NotFolded("the model is gone")
        return f"summary {len(self.asked)}: ".ljust(self.length, "s")


@dataclass
class History:
    """A session without a store: `entries` are its rows, `view` what the model sees."""

    entries: dict[int, Entry] = field(default_factory=dict)
    view: View = field(default_factory=View)
    next_seq: int = 1
    folded: dict[int, Entry] = field(default_factory=dict)

    def add(
        self,
        role: str,
        text: str,
        *,
        calls: Sequence[dict[str, Any]] = (),
        of: str = "",
        pinned: bool = False,
        image: bool = False,
    ) -> int:
        seq = self.next_seq
        self.next_seq += 1
        picture = ImagePart(image_url=ImageUrl(url="data:image/png;base64," + "A" * 4000))
        message = {
            "system": lambda: SystemMessage(content=text),
            "user": lambda: UserMessage(content=(TextPart(text=text), picture) if image else text),
            "tool": lambda: ToolMessage(content=text, tool_call_id=of),
            "assistant": lambda: AssistantMessage(
                content=text or None,
                tool_calls=tuple(
                    ToolCall(id=f"{seq}.{number}", name="t", arguments=json.dumps(call))
                    for number, call in enumerate(calls)
                ),
            ),
        }[role]()
        new = Entry(place=seq, seq=seq, role=role, wire=wire(message), pinned=pinned or role == "system")
        self.entries[seq] = new
        self.view.add(new)
        return seq

    def round(self, *results: str, arguments: Sequence[dict[str, Any]] | None = None) -> int:
        """An answer with calls, and their results."""
        seq = self.add("assistant", "", calls=arguments or [{}] * len(results))
        for number, result in enumerate(results):
            self.add("tool", result, of=f"{seq}.{number}")
        return seq

    def window(self, target: int, **more: Any) -> Window:
        return Window.of(self.view, target=target, kept=more.pop("kept", self.view.unanswered()), **more)

    def climb(self, strategies: Sequence[Strategy], target: int, **more: Any) -> Tried:
        tried = run(climb(strategies, self.window(target, **more)))
        if tried.compaction is not None:
            self.take(tried.compaction)
        return tried

    def take(self, done: Compaction) -> None:
        """Record a compaction as a store does."""
        notes = []
        for stead in done.steads:
            notes.append(Entry(stead.place, self.next_seq, stead.role, stead.wire, note=True))
            self.next_seq += 1
        for seq in done.folded:
            self.folded[seq] = self.entries.pop(seq)
        self.entries |= {note.seq: note for note in notes}
        self.view.fold(done.folded, notes)

    @property
    def summary_note(self) -> str | None:
        """The text of the note there is, if any."""
        (found,) = [parse(entry.wire) for entry in self.view if entry.note and entry.role == "user"] or [None]
        return None if found is None else str(found.content)

    @property
    def newest_round(self) -> Collection[int]:
        """Numbers of the last answer and of all that came after it, if the model has yet to answer that."""
        found: list[int] = []
        for entry in reversed(list(self.view)):
            found.append(entry.seq)
            if entry.role == "assistant":
                return found if len(found) > 1 and '"tool_calls":[' in entry.wire else ()
        return ()

    def check(self, random: Random) -> None:
        """What holds of every history, whatever was folded in it."""
        seen = list(self.view)
        assert violations([parse(entry.wire) for entry in seen]) == []
        assert sum(entry.note and entry.role == "user" for entry in seen) <= 1, "a note goes into the next one"
        assert self.entries.keys() | self.folded.keys() == set(range(1, self.next_seq)), "nothing is lost"
        assert not self.entries.keys() & self.folded.keys()
        assert all(not entry.pinned for entry in self.folded.values()), "what is pinned stays"
        stored = list(self.entries.values())
        random.shuffle(stored)
        assert View(stored).texts() == self.view.texts(), "a reload shows what the model saw"
