"""Who is in a session, and who waits for it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.model.book.claims import Claims
from tests.model.book.parts import Op, Refused, Said, freeze


class Lines(Claims):
    def enter(self, op: Op, steps: Generator[None, None, Any]) -> None:
        op.steps = steps
        self.lines.setdefault(op.session, []).append(op)
        self.pump(op.session)

    def pump(self, s: str) -> None:
        """Let whoever is first go on, until a turn waits for something."""
        while (line := self.lines.get(s)) and s not in self.running:
            op = line[0]
            assert op.steps is not None
            try:
                next(op.steps)
                continue
            except StopIteration as stop:
                outcome: Said = ("done", stop.value)
            except Refused as refused:
                outcome = ("failed", refused.code)
            if op in self.lines.get(s, []):
                self.leave(op)
            self.finish(op, outcome)

    def leave(self, op: Op) -> None:
        line = self.lines[op.session]
        line.remove(op)
        if not line:
            del self.lines[op.session]

    def finish(self, op: Op, outcome: Said) -> None:
        if op.kind in ("send", "resume") and outcome[0] == "done":
            outcome = ("done", outcome[1][:4])
        if op.parent is not None:
            op.parent(op, outcome)
        else:
            self.expected[("op", op.hand.name, op.number, *freeze(outcome))] += 1

    def enqueue(self, op: Op, text: str, mode: str, request: str | None) -> None:
        op.text = text
        self.sessions[op.session]["waiting"].append(
            {"text": text, "mode": mode, "request_id": request, "sender": op.hand.pid}
        )

    def withdraw(self, op: Op) -> None:
        """Take its input out of the inbox, if it is still there."""
        waiting = self.sessions[op.session]["waiting"] if op.session in self.sessions else []
        waiting[:] = [one for one in waiting if one["text"] != op.text]
        self.steered.discard(op.text or "")
