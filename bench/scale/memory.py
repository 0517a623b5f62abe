"""Resident memory of a process that holds many idle open sessions, and many running ones.

By difference: the same kind of process with many sessions and with few, so that modules, connections and everything
else that is there once cancels out. What SQLite caches of the file (at most 2 MB a connection) is part of the figure.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import shutil
import sqlite3
import tempfile
import tracemalloc
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import ask
from bench.scale.turn import MESSAGES_A_TURN, STANDARD, InstantModel, fill, loop_over
from llm_client.service import Answer, ChatRequest

FEW: Final = 10
AT_ONCE: Final = 10
"""Turns at a time while sessions are made warm: what they leave behind is used again by the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    many: int
    running: int
    lengths: tuple[int, ...]
    """Messages a session."""
    repetitions: int


async def measure(plan: Plan) -> Found:
    size = Size(
        many=110 if plan.quick else 1_000,
        running=60 if plan.quick else 100,
        lengths=(10,) if plan.quick else (10, 100),
        repetitions=1 if plan.quick else min(3, plan.repetitions),
    )
    rows, data = [], {}
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        for length in size.lengths:
            database = f"{folder}/{length}.db"
            await ask(fill, database=database, sessions=size.many, turns=length // MESSAGES_A_TURN - 1)
            for traced in (False, True):
                runs = [await _pair(database, size.many, traced, idle=True) for _ in range(size.repetitions)]
                how = "allocated by Python" if traced else "resident"
                data[f"idle, {length} messages, {how}"] = runs
                rows.append(_row(f"idle and open, {length} messages, {how}", runs))
        database = f"{folder}/{size.lengths[0]}.db"
        runs = [await _pair(database, size.running, False, idle=False) for _ in range(size.repetitions)]
        data["running, resident"] = runs
        rows.append(
            _row(f"running, waiting for the model, {size.lengths[0] - MESSAGES_A_TURN + 1} messages, resident", runs)
        )
    resident = [runs for name, runs in data.items() if name.startswith("idle") and name.endswith("resident")]
    traced_runs = [runs for name, runs in data.items() if name.endswith("Python")]
    heads = ["", "KB a session", "its messages KB", "beyond them KB", f"MB with {FEW}", "sessions"]
    table = Table(
        title=f"Memory of sessions: {size.many:,} idle or {size.running} running against {FEW}",
        head=heads,
        rows=rows,
        note="Messages: the bytes of their wire texts.",
    )
    targets = {
        "idle_kb_beyond_messages": max(median(run["beyond"] for run in runs) for runs in resident),
        "idle_kb_beyond_messages_python": max(median(run["beyond"] for run in runs) for runs in traced_runs),
    }
    return Found(tables=[table], data={"runs": data, "targets": targets})


async def _pair(database: str, many: int, traced: bool, *, idle: bool) -> dict[str, float]:
    """KB a session, by the difference between many and few."""
    said = {}
    for count in (FEW, many):
        copy = f"{database}.copy"
        shutil.copyfile(database, copy)
        said[count] = await ask(hold_idle if idle else hold_running, database=copy, sessions=count, traced=traced)
        os.unlink(copy)
    more = many - FEW
    each = (said[many]["bytes"] - said[FEW]["bytes"]) / more / 1000
    texts = (said[many]["texts"] - said[FEW]["texts"]) / more / 1000
    base = said[FEW]["bytes"] / 1e6
    return {"each": each, "texts": texts, "beyond": each - texts, "base": base, "sessions": many}


def _row(name: str, runs: list[dict[str, float]]) -> list[Any]:
    return [
        name,
        *(median(run[part] for run in runs) for part in ("each", "texts", "beyond", "base")),
        runs[0]["sessions"],
    ]


async def hold_idle(database: str, sessions: int, traced: bool) -> dict[str, float]:
    """Run a turn in each of so many sessions, which leaves them open; what is held then."""
    if traced:
        tracemalloc.start()
    names = iter([f"s{number}" for number in range(sessions)])
    async with loop_over(database, warm=sessions + 1) as loop:

        async def worker() -> None:
            for name in names:
                await loop.send(STANDARD.question, name)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        held = _held(traced)
    return {"bytes": held, "texts": _texts(database, sessions)}


class Unready(InstantModel):
    """Answers once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Semaphore(0)
        self.answer = asyncio.Event()

    async def complete(self, request: ChatRequest) -> Answer:
        self.asked.release()
        await self.answer.wait()
        return await super().complete(request)


async def hold_running(database: str, sessions: int, traced: bool) -> dict[str, float]:
    """Send to so many sessions at once; what is held while all of them wait for the model."""
    if traced:
        tracemalloc.start()
    model = Unready()
    async with loop_over(database, warm=sessions + 1, llm=model) as loop:
        sends = [asyncio.create_task(loop.send(STANDARD.question, f"s{number}")) for number in range(sessions)]
        for _ in range(sessions):
            await model.asked.acquire()
        held, texts = _held(traced), _texts(database, sessions)
        model.answer.set()
        await asyncio.gather(*sends)
    return {"bytes": held, "texts": texts}


def _held(traced: bool) -> int:
    """Bytes: allocated by Python code, or resident once what was freed went back to the system (Linux)."""
    gc.collect()
    if traced:
        return tracemalloc.get_traced_memory()[0]
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _texts(database: str, sessions: int) -> int:
    """The bytes of all active messages of the sessions that are held."""
    names = [(f"s{number}",) for number in range(sessions)]
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        sql = """SELECT sum(length(CAST(m.body AS BLOB))) FROM messages m JOIN sessions s ON s.key = m.session
                  WHERE s.id = ? AND m.state = 'active'"""
        return sum(connection.execute(sql, name).fetchone()[0] for name in names)
