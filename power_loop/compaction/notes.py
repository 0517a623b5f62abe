"""The note that stands in the place of folded messages: a user's message of a fixed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pydantic_core

from llm_client.messages import UserMessage, wire
from power_loop.compaction.window import Unit
from power_loop.transcript.measure import CHARS_PER_TOKEN

HEADING: Final = "[Note on the conversation before this point]\n"
LEFT_OUT: Final = "[Messages that stood here are left out to save room.]"


def note_message(text: str) -> str:
    """The wire text of a note."""
    return wire(UserMessage(content=HEADING + text))


def note_text(unit: Unit) -> str:
    """What an earlier note says, without its heading."""
    said = pydantic_core.from_json(unit.entries[0].wire)["content"]
    assert isinstance(said, str)
    return said.removeprefix(HEADING)


def carried(units: Sequence[Unit], *, tokens: int) -> str:
    """The note of a strategy that writes none of its own: what the note it folds says, and that messages are missing.

    An earlier summary is not lost so; it is cut to about so many `tokens`.
    """
    earlier = [note_text(unit).replace(LEFT_OUT, "").strip() for unit in units if unit.note]
    return "\n\n".join(filter(None, [*(clipped(text, tokens) for text in earlier), LEFT_OUT]))


def clipped(text: str, tokens: int) -> str:
    """The beginning and the end of a text, about so many tokens of it."""
    most = max(16, round(tokens * CHARS_PER_TOKEN))
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [...] {text[-half:]}"
