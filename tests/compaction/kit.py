"""Histories as a session grows them, and what a fresh process would read again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_client.messages import AssistantMessage, SystemMessage, ToolCall, ToolMessage, UserMessage, wire
from power_loop.compaction.ladder import Compaction, Strategy, Tried, climb
from power_loop.compaction.window import Window
from power_loop.transcript.view import Entry, View


@dataclass
class History:
    """A session without a store: `entries` are its rows, `view` what the model sees."""

    entries: dict[int, Entry] = field(default_factory=dict)
    view: View = field(default_factory=View)
    next_seq: int = 1
    folded: dict[int, Entry] = field(default_factory=dict)

    def add(
        self, role: str, text: str, *, calls: Sequence[dict[str, Any]] = (), of: str = "", pinned: bool = False
    ) -> int:
        seq = self.next_seq
        self.next_seq += 1
        message = {
            "system": lambda: SystemMessage(content=text),
            "user": lambda: UserMessage(content=text),
            "tool": lambda: ToolMessage(content=text, tool_call_id=of),
            "assistant": lambda: AssistantMessage(
                content=text or None,
                tool_calls=tuple(
                    ToolCall(id=f"{seq}.{number}", name="t", arguments=str(call).replace("'", '"'))
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
        tried = asyncio.run(climb(strategies, self.window(target, **more)))
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
