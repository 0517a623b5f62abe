"""What a removed guard showed to be untested: pinned messages and system prompts stay, each for its own sake."""

from __future__ import annotations

import pytest

from power_loop.compaction.plan import plan
from power_loop.transcript.view import Entry, View


def entry(seq: int, role: str, *, pinned: bool = False) -> Entry:
    return Entry(place=seq, seq=seq, role=role, wire=f"{role} {seq} " + "and so on " * 40, pinned=pinned)


@pytest.mark.acceptance("E8")
def test_neither_a_system_prompt_nor_a_pinned_message_is_folded() -> None:
    entries = [
        entry(1, "system"),
        entry(2, "user", pinned=True),
        entry(3, "assistant"),
        entry(4, "user"),
        entry(5, "assistant", pinned=True),
        entry(6, "user"),
        entry(7, "assistant"),
        entry(8, "user"),
    ]
    planned = plan(View(entries), request=8, keep_tokens=10)
    assert planned is not None
    assert [one.seq for one in planned.folded] == [3, 4, 6, 7]
