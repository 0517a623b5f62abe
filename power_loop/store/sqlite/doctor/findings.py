"""What an examination comes to: one finding a check, with the places it is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RESTORE: Final = "restore a backup; what is sound can still be read with `power-loop show`"


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works; somebody should look."""
    BAD = "bad"
    """Something stored is lost, damaged or cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One place that a finding is about, as far as it is known."""

    what: str
    session: str | None = None
    table: str | None = None
    seq: int | None = None
    """The message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: str
    grade: Grade = Grade.OK
    words: str
    way_out: str | None = None
    code: str | None = None
    """Of the error that a check ran into."""
    spots: tuple[Spot, ...] = ()
