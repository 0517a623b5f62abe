"""Flushes and commits a turn, counted and not timed: strace sees fsync and fdatasync between two marks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from bench.contestants import Contestant, FailedError, scratch
from bench.figures import BASE, DURABLE_NOTE, about, titled
from bench.host import MARK
from bench.peers import ORDER, peer
from bench.plan import Plan
from bench.report import Found, Table

TURNS: Final = {1: 20, 10: 10, 100: 5}
MANY: Final = ("ours", "ours_normal", "sqlite_group")
"""Those that are counted with many sessions too."""
CALLS: Final = "trace=fsync,fdatasync,access,faccessat,faccessat2"


async def measure(plan: Plan) -> Found:
    data: dict[str, Any] = {}
    counts = (1, 10) if plan.quick else tuple(TURNS)
    async with scratch(plan) as folder:
        for name in ORDER:
            if name not in plan.peers or name in plan.absent or not peer(name).in_process or not peer(name).stores:
                continue
            data[name] = about(name) | {
                str(count): await _counted(folder, name, count) for count in counts if count == 1 or name in MANY
            }
    head = ["", *(f"flushes a turn, {count} at once" for count in counts)]
    head += [f"commits a turn, {count} at once" for count in counts]
    rows = [
        [
            titled(name),
            *(found.get(str(count), {}).get("flushes") for count in counts),
            *(found.get(str(count), {}).get("commits") for count in counts),
        ]
        for name, found in data.items()
    ]
    note = DURABLE_NOTE if shutil.which("strace") else f"{DURABLE_NOTE} Flushes are not counted: there is no strace."
    return Found(tables=[Table(title="Flushes and commits a turn", head=head, rows=rows, note=note)], data=data)


async def _counted(folder: Path, name: str, count: int) -> dict[str, float | None]:
    log = folder / f"{name}-{count}.strace"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", CALLS, "-o", str(log)] if shutil.which("strace") else []
    contestant = Contestant(name, folder / f"{name}-{count}")
    turns = TURNS[count]
    # Ours counts its commits itself, and its statements come prepared: a listener would see more than it commits.
    variables = {} if name.startswith(BASE) else {"BENCH_COUNT_COMMITS": "1"}
    try:
        await contestant.start(None, wrapper=strace, variables=variables)
        await contestant.run(range(count), 2)
        said = await contestant.run(range(count), turns)
    except FailedError as error:
        print(f"  {name} could not be counted: {error}")
        return {"flushes": None, "commits": None}
    finally:
        await contestant.end()
    commits = None if said["commits"] is None else said["commits"] / (count * turns)
    return {"flushes": _between_marks(log, count * turns), "commits": commits}


def _between_marks(log: Path, turns: int) -> float | None:
    if not log.exists():
        return None
    lines = log.read_text(errors="replace").splitlines()
    marks = [number for number, line in enumerate(lines) if MARK in line and "resumed" not in line]
    if len(marks) != 4:
        return None  # it may not trace here
    between = lines[marks[2] : marks[3]]
    return sum("fsync(" in line or "fdatasync(" in line for line in between) / turns
