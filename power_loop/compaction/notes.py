"""What stands in the place of folded messages: a note, as a user's message of a fixed form, or a shorter result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pydantic_core

from llm_client.messages import ToolMessage, UserMessage, wire
from power_loop.compaction.window import Unit, Window
from power_loop.transcript.view import Entry

HEADING: Final = "[Note on the conversation before this point]\n"
LEFT_OUT: Final = "[Messages that stood here are left out to save room.]"
CUT: Final = " [...] "

SHARE: Final = 8
"""An earlier note may take an eighth of the target when a strategy carries it on."""

LEAST: Final = 16
"""Characters of it that stay however small the target is."""

SLACK: Final = 16
"""Characters by which a cut goes further than it must, so that the next finds the text short enough."""


def note_message(text: str) -> str:
    """The wire text of a note."""
    return wire(UserMessage(content=HEADING + text))


def result_message(cleared: Entry, text: str) -> str:
    """The wire text of a result that answers the same call in other words."""
    return wire(ToolMessage(content=text, tool_call_id=pydantic_core.from_json(cleared.wire)["tool_call_id"]))


def note_text(unit: Unit) -> str:
    """What an earlier note says, without its heading."""
    said = pydantic_core.from_json(unit.entries[0].wire)["content"]
    assert isinstance(said, str)
    return said.removeprefix(HEADING)


def carried(window: Window) -> str:
    """The note of a strategy that writes none of its own: what the earlier note says, and that messages are missing.

    So an earlier summary is not lost, however many such compactions follow it.
    """
    earlier = (note_text(unit).replace(LEFT_OUT, "").strip() for unit in window.units if unit.note)
    kept = (clipped(text, window.target // SHARE, window.size) for text in earlier)
    return "\n\n".join(filter(None, (*kept, LEFT_OUT)))


def clipped(text: str, tokens: int, size: Callable[[str], int]) -> str:
    """The beginning and the end of a text, about so many tokens of it. What was cut so is not cut again."""
    whole = size(text)
    if whole <= tokens:
        return text
    half = max(LEAST, len(text) * tokens // whole - len(CUT) - SLACK) // 2
    return text if 2 * half + len(CUT) >= len(text) else f"{text[:half]}{CUT}{text[-half:]}"
