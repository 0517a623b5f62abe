"""Where one case happens: the database, and beside it what its processes note of themselves."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Files of one case. All but the database lie outside its folder, so that what is left there is the store's."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "db" / "agent.db"

    @property
    def runs(self) -> Path:
        """Every entry into a tool and every return from it."""
        return self.folder / "runs"

    @property
    def sent(self) -> Path:
        """Every input before it is sent, and every acknowledgement once it is heard."""
        return self.folder / "sent"

    @property
    def asked(self) -> Path:
        """Every request to the model, and what came of it."""
        return self.folder / "asked"

    @property
    def remote(self) -> Path:
        """The world outside."""
        return self.folder / "remote"

    def report(self, process: str) -> Path:
        return self.folder / f"{process}.json"

    def error(self, process: str) -> Path:
        return self.folder / f"{process}.error"


def append(path: Path, line: Line) -> None:
    """A line that survives whatever happens next; whole, whoever else writes at the same time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines(path: Path) -> list[Line]:
    """What was written; nothing if nobody did. A last line cut off by a death was never there."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]
