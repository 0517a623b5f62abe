"""The write-ahead log as bytes. SQLite silently leaves out what follows a damaged frame; somebody has to say so.

Reading the log by hand is safe beside a live writer: SQLite's locks are on the other two files.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HEADER: Final = 32
FRAME: Final = 24
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""The byte order of the checksums, by the first four bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    sound: bool
    """Whether it begins as a log does, or is empty."""
    lost: int = 0
    """Commits that stand behind a frame that is not what was written, which nobody will read."""


def read(path: Path) -> Log:
    """Raises `OSError` if there is no log, or it cannot be read."""
    raw = path.read_bytes()
    if not raw:
        return Log(sound=True)
    if len(raw) < HEADER:
        return Log(sound=False)
    magic, _, size = struct.unpack_from(">III", raw)
    order = _MAGIC.get(magic)
    if order is None or size not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        return Log(sound=False)
    salt, sums = raw[16:24], struct.unpack_from(">II", raw, 24)
    if _sum(raw[:24], order, (0, 0)) != sums:
        return Log(sound=False)
    return Log(sound=True, lost=_lost(raw, order, size, salt, sums))


def _lost(raw: bytes, order: str, size: int, salt: bytes, sums: tuple[int, ...]) -> int:
    believed, lost = True, 0
    for at in range(HEADER, len(raw) - FRAME - size + 1, FRAME + size):
        if raw[at + 8 : at + 16] != salt:
            # Of an older round of the log, or damaged in its very salt.
            believed = False
            continue
        if believed:
            sums = _sum(raw[at + FRAME : at + FRAME + size], order, _sum(raw[at : at + 8], order, sums))
            believed = struct.unpack_from(">II", raw, at + 16) == sums
        if not believed and raw[at + 4 : at + 8] != b"\0\0\0\0":
            lost += 1
    return lost


def _sum(raw: bytes, order: str, sums: tuple[int, ...]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(raw) // 4}I", raw)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
