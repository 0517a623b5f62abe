"""The write-ahead log as bytes. SQLite silently leaves out what follows a damaged frame; somebody has to say so.

Reading the log by hand is safe beside a live writer: SQLite's locks are on the other two files. What a writer is just
about to write looks damaged for a moment, so damage is believed once it stays.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HEADER: Final = 32
FRAME: Final = 24
LOOKS: Final = 20
AGREE: Final = 3
PAUSE: Final = 0.02
"""Seconds between two looks."""

_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""The byte order of the checksums, by the first four bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    sound: bool
    """Whether it begins as a log does, or is empty."""
    lost: int = 0
    """Commits from a frame on that is not what was written, which nobody will read."""
    where: bytes = b""
    """What tells this damage from other: the log's header and the frame."""


def settled(path: Path) -> Log:
    """The log as several looks agree on it; one that changes all the time is in use, and no damage.

    Raises:
        OSError: there is no log, or it cannot be read.
    """
    found, agreed = read(path), 1
    for _ in range(LOOKS):
        if (found.sound and not found.lost) or agreed == AGREE:
            return found
        time.sleep(PAUSE)
        again = read(path)
        found, agreed = again, agreed + 1 if again == found else 1
    return Log(sound=True)


def read(path: Path) -> Log:
    """Raises `OSError` if there is no log, or it cannot be read."""
    raw = path.read_bytes()
    if not raw:
        return Log(sound=True)
    if len(raw) < HEADER:
        return Log(sound=False, where=raw[:HEADER])
    magic, _, size = struct.unpack_from(">III", raw)
    order = _MAGIC.get(magic)
    if order is None or size not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        return Log(sound=False, where=raw[:HEADER])
    salt, sums = raw[16:24], struct.unpack_from(">II", raw, 24)
    if _sum(raw[:24], order, (0, 0)) != sums:
        return Log(sound=False, where=raw[:HEADER])
    return _chained(raw, order, size, salt, sums)


def _chained(raw: bytes, order: str, size: int, salt: bytes, sums: tuple[int, ...]) -> Log:
    """Follow the checksums from frame to frame; each goes on from the one before."""
    broken, lost = 0, 0
    for at in range(HEADER, len(raw) - FRAME - size + 1, FRAME + size):
        ours = raw[at + 8 : at + 16] == salt
        if ours and not broken:
            sums = _sum(raw[at + FRAME : at + FRAME + size], order, _sum(raw[at : at + 8], order, sums))
        if not broken and not (ours and struct.unpack_from(">II", raw, at + 16) == sums):
            broken = at
        # A frame with another salt is left of an older round; one with the size of the database in it ends a commit.
        lost += bool(broken and ours and raw[at + 4 : at + 8] != b"\0\0\0\0")
    return Log(sound=True, lost=lost, where=raw[:HEADER] + raw[broken : broken + FRAME + size] if lost else b"")


def _sum(raw: bytes, order: str, sums: tuple[int, ...]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(raw) // 4}I", raw)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
