"""Results that are shown in short: how their text says so, and the handle under which the whole is kept."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

RECALL: Final = "recall_output"
"""The tool that reads a result whole."""

RECALLED_BY: Final = f"{RECALL}("
"""Stands in every result that is shown in short: how to call it."""

_HANDLE: Final = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,17})", re.ASCII)
_SHORT: Final = re.compile(r"\n\[Result ([0-9]+\.[0-9]+) is shown in short: ", re.ASCII)


class Handle(NamedTuple):
    """Where a result stands: the number of its session, and its own there. As a text: `3.17`."""

    session: int
    seq: int

    def __str__(self) -> str:
        return f"{self.session}.{self.seq}"

    @classmethod
    def parsed(cls, text: str) -> Handle | None:
        """None: no handle looks like that."""
        found = _HANDLE.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))


def shown_in_short(part: str, characters: int, handle: str, *, recalled: bool) -> str:
    """What the model is shown of a result of so many characters: a part, and a line that says how to read the rest.

    `recalled`: the model has the tool for it; else the host can read it by the handle.
    """
    way = f'; {RECALLED_BY}handle="{handle}", offset=..., limit=...) reads any part of it' if recalled else ""
    return f"{part}{_says(handle)}{characters:,} characters in all{way}.]"


def says_in_short(text: str, handle: str) -> bool:
    """Whether a text claims to be the result of that handle, shown in short."""
    return _says(handle) in text


def handle_of(text: str, seq: int) -> str | None:
    """The handle of the result with that number, if its text says that it is shown in short."""
    found = [handle for handle in _SHORT.findall(text) if handle.endswith(f".{seq}")]
    return found[-1] if found else None


def _says(handle: str) -> str:
    return f"\n[Result {handle} is shown in short: "
