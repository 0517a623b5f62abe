"""A connection as transactions and reads see it: named statements in, rows out; no await, so nothing is torn."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, Protocol, TypeAlias

Text: TypeAlias = str | int | float | None
"""What is sealed as a text."""

Value: TypeAlias = Text | bytes

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Row(Protocol):
    def __getitem__(self, column: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]:
        """The values, in the order of the statement's columns."""
        ...


class Port(Protocol):
    """One connection, inside one transaction (or one consistent read)."""

    @property
    def path(self) -> str:
        """Which database this is, for messages."""
        ...

    def run(self, name: str, /, **values: Value) -> int:
        """Run a named statement; how many rows it changed."""
        ...

    def insert(self, name: str, /, **values: Value) -> int:
        """Run a named INSERT of one row into a table that numbers its rows; its number."""
        ...

    def one(self, name: str, /, **values: Value) -> Row | None: ...

    def all(self, name: str, /, **values: Value) -> Sequence[Row]: ...


@cache
def statements(dialect: str) -> Mapping[str, str]:
    """The named statements of a dialect, from its `.sql` files."""
    found: dict[str, str] = {}
    folder = resources.files("power_loop.store").joinpath("sql", dialect)
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            parts = _NAME.split(file.read_text(encoding="utf-8"))
            found.update(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
    return found


def seal(*texts: Text) -> int:
    """The checksum of a row's texts: CRC-32 over each text, its length and whether it is there at all.

    A CRC-32 changes with every single flipped bit and every burst of up to 32 bits.
    """
    return zlib.crc32("".join(map(part, texts)).encode("utf-8", "surrogateescape"))


def part(text: Text) -> str:
    """What one text adds to what is sealed."""
    if text is None:
        return "-1:"
    written = str(text)
    size = len(written) if written.isascii() else len(written.encode("utf-8", "surrogateescape"))
    return f"{size}:{written}"
