"""What the comparing workloads share: who is in a table and how, and the arithmetic of interleaved rounds."""

from __future__ import annotations

import shutil
import sys
from asyncio import create_subprocess_exec
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.peers import peer
from bench.venvs import ROOT

BASE: Final = "ours"
DURABLE_NOTE: Final = "A star: every step is on disk (synchronous=FULL or equal) before the next effect."


def titled(name: str) -> str:
    """A contestant's name in a table; a star if it is equally durable."""
    kind = peer(name)
    return f"{kind.title} *" if kind.equally_durable else kind.title


def about(name: str) -> dict[str, Any]:
    """What the JSON file says of a contestant beside its figures."""
    kind = peer(name)
    return {"title": kind.title, "setting": kind.setting, "equally_durable": kind.equally_durable}


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float | None:
    """How many times theirs mine is: the median of the ratios within each round. Rounds only one of them ran, the
    last ones, do not count."""
    both = [a / b for a, b in zip(mine, theirs, strict=False) if b]
    return median(both) if both else None


def middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """Whoever came first in one round comes last in the next."""
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


async def filled(folder: Path, histories: Sequence[int]) -> Path:
    """A database of ours with sessions of so many messages, grown by running turns in a process of its own."""
    path = folder / "template.db"
    if not path.exists():
        command = [sys.executable, "-m", "bench.peers.ours", str(path), *map(str, histories)]
        process = await create_subprocess_exec(*command, cwd=ROOT)
        if await process.wait():
            raise RuntimeError("the template database could not be made")
    return path


def lay(template: Path, folder: Path) -> None:
    """Give a contestant of ours its own copy, before it is opened."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(template, folder / "ours.db")
