"""A process with many sessions inside a running tool call is killed; a fresh one recovers them all."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final, Literal

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import ChildFailedError, ask, start
from bench.scale.turn import STANDARD, loop_over
from power_loop import StatefulAgentLoop, Tool, tool
from power_loop.store import open_store

Way = Literal["resume", "report", "abort"]
WAYS: Final[tuple[Way, ...]] = ("resume", "report", "abort")
CALLS: Final = 2
"""A turn asks for so many, and both run."""
READY: Final = b"ready\n"

EXPECTED: Final = {
    # Message numbers given out (open calls' too), open calls, state of the session, status of its last turn.
    "resume": (5, 0, "idle", "completed"),
    "report": (4, CALLS, "interrupted_in_tools", "interrupted"),
    "abort": (4, 0, "stopped", "cancelled"),
}


async def measure(plan: Plan) -> Found:
    sessions = 20 if plan.quick else 1_000
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        killed = Path(folder) / "killed.db"
        await _kill_inside_tools(killed, sessions)
        for number in range(1 if plan.quick else min(3, plan.repetitions)):
            for way in WAYS:
                copy = Path(folder) / f"{way}{number}.db"
                for end in ("", "-wal"):
                    shutil.copyfile(f"{killed}{end}", f"{copy}{end}")
                figures[way].append(await ask(recover, database=str(copy), way=way, sessions=sessions))
    rows = []
    for word, runs in figures.items():
        took, commits, changes = (median(run[part] for run in runs) for part in ("seconds", "commits", "changes"))
        opened = median(run["opened"] for run in runs)
        rows.append(
            [f'recover("{word}")', took, sessions / took, commits, commits / sessions, changes / sessions, opened]
        )
    heads = ["", "seconds", "sessions/s", "commits", "commits a session", "changes a session", "opened in s"]
    title = (
        f"{sessions:,} sessions of a killed process, each inside {CALLS} running tool calls, recovered by a fresh one"
    )
    rates = {way: sessions / median(run["seconds"] for run in figures[way]) for way in WAYS}
    note = "Model in process, tools with effect `read`, jitter 0. Every session was looked at afterwards."
    data = {"sessions": sessions, "runs": figures, "sessions_per_second": rates, "targets": {}}
    return Found(tables=[Table(title=title, head=heads, rows=rows, note=note)], data=data)


async def _kill_inside_tools(database: Path, sessions: int) -> None:
    """Once all sessions are inside their calls, the process that drives them is gone."""
    process = await start(work_for_ever, database=str(database), sessions=sessions)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = await process.stdout.readline()
    finally:
        if process.returncode is None:
            process.kill()
    _, err = await process.communicate()
    if said != READY:
        raise ChildFailedError(f"the process to be killed said {said!r}:\n{err.decode()}")


async def work_for_ever(database: str, sessions: int) -> None:
    """Send to every session; say so once all calls run. None of them ever ends."""
    running = asyncio.Semaphore(0)

    @tool(effect="read", parallel=True)
    async def forecast(city: str, days: int, unit: str) -> str:
        """The weather of the coming days in a city."""
        running.release()
        await asyncio.Event().wait()
        return ""

    async with loop_over(database, synchronous="NORMAL", tools=[forecast]) as loop:
        sending = [asyncio.create_task(loop.send(STANDARD.question)) for _ in range(sessions)]
        for _ in range(sessions * CALLS):
            await running.acquire()
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await asyncio.gather(*sending)


async def recover(database: str, way: Way, sessions: int) -> dict[str, float]:
    """Open, recover, and check every session.

    Raises:
        AssertionError: a session did not end as it should, or a call did not run exactly once more.
    """
    ran: list[str] = []
    begun = perf_counter()
    store: Any = await open_store(database, create=False)
    opened = perf_counter() - begun
    try:
        async with loop_over(store, tools=[_counting(ran)]) as loop:
            begun = perf_counter()
            recovered = await loop.recover(way, jitter=0)
            took = perf_counter() - begun
            commits, changes = store.commits, store.changes
            actions = Counter((one.action, one.error) for one in recovered)
            assert actions == {(way, None): sessions}, actions
            assert len(ran) == (sessions * CALLS if way == "resume" else 0), f"{len(ran)} calls ran"
            assert await _ended(loop, sessions) == {EXPECTED[way]: sessions}
    finally:
        await store.aclose()
    return {"seconds": took, "opened": opened, "commits": commits, "changes": changes}


def _counting(ran: list[str]) -> Tool:
    @tool(effect="read", parallel=True)
    async def forecast(city: str, days: int, unit: str) -> str:
        """The weather of the coming days in a city."""
        ran.append(city)
        return STANDARD.result

    return forecast


async def _ended(loop: StatefulAgentLoop, sessions: int) -> Counter[tuple[int, int, str, str]]:
    """How the sessions stand, each read whole."""
    found: Counter[tuple[int, int, str, str]] = Counter()
    for info in await loop.list_sessions(limit=min(10_000, sessions + 1)):
        messages = await loop.get_messages(info.session_id)
        shown = (info.messages, len(info.pending), str(info.state), str(info.status))
        assert len(messages) == info.messages - len(info.pending), f"{info.session_id} has gaps"
        found[shown] += 1
    return found
