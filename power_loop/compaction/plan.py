"""Which messages to fold. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from power_loop.transcript.measure import tokens
from power_loop.transcript.view import Entry, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to fold; the note takes the place of the first."""

    folded: Sequence[Entry]
    folded_tokens: int

    @property
    def place(self) -> int:
        return self.folded[0].place


def plan(view: View, *, request: int, keep_tokens: int) -> Plan | None:
    """Fold all but the latest messages, or None where that would gain nothing.

    Kept: the system prompt, pinned messages, the message with sequence number `request`, and the newest units (an
    answer with its results is one) of up to `keep_tokens`, at least one. An older note is folded into the new one.
    """
    units = list(view.units())
    kept_tokens = 0
    tail = len(units)
    while tail > 0:
        size = sum(tokens(entry.wire) for entry in units[tail - 1])
        if tail < len(units) and kept_tokens + size > keep_tokens:
            break
        kept_tokens += size
        tail -= 1
    folded = [
        entry
        for unit in units[:tail]
        for entry in unit
        if entry.role != "system" and not entry.pinned and entry.seq != request
    ]
    if sum(not entry.note for entry in folded) < 2:
        return None
    return Plan(folded=folded, folded_tokens=sum(tokens(entry.wire) for entry in folded))
