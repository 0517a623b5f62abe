"""What is measured. Each workload prints its table and gives its raw figures for the JSON file."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import subjects as s
from bench.child import MARK
from bench.measure import Figure, interleaved
from bench.report import against, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it."""

    url: str
    """Where the model server is."""
    repetitions: int
    turns: int
    """A batch."""
    lengths: Sequence[int]
    typed_up_to: int
    """Histories longer than this are not sent through the typed method: 10,000 messages take it 10 s a turn."""
    sessions: Sequence[int]
    folder: Path
    """Where databases go: its disk is what is measured."""


Workload = Callable[[Plan], Coroutine[Any, Any, dict[str, Any]]]


@asynccontextmanager
async def _entered(
    plan: Plan, kinds: Sequence[type[s.Subject]], url: str | None, histories: Sequence[int] = (0,), sessions: int = 1
) -> AsyncIterator[list[s.Subject]]:
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(kind(Path(folder), url, history, sessions))
                for kind in kinds
                for history in histories
            ]


async def turn(plan: Plan) -> dict[str, Any]:
    """One session: a persisted turn against the same turn without a store, the bare client, raw sqlite3."""
    found: dict[str, Any] = {}
    for where, url, kinds in (
        ("model in process", None, [s.Ours, s.OursNormal, s.OursNoStore, s.RawSqlite]),
        ("over HTTP", plan.url, [s.Ours, s.OursNoStore, s.RawSqliteHttp, s.Post, s.Typed]),
    ):
        async with _entered(plan, kinds, url) as entered:
            figures = await interleaved(entered, turns=plan.turns, repetitions=plan.repetitions)
        title = f"One session, {where}, {plan.turns * plan.repetitions} turns, interleaved"
        print(table(title, *against(figures, figures[0])))
        found[where] = [asdict(figure) for figure in figures]
    return found


async def length(plan: Plan) -> dict[str, Any]:
    """A turn at message 10, 1,000, 10,000; store and loop apart from the client; warm, and in a fresh process."""
    found: dict[str, Any] = {}
    batch = min(8, plan.turns)
    for where, url in (("model in process", None), ("over HTTP", plan.url)):
        async with _entered(plan, [s.Ours], url, plan.lengths, plan.repetitions + 1) as entered:
            figures = await interleaved(entered, turns=batch, repetitions=plan.repetitions, fresh_sessions=True)
            fresh = [await _fresh(Path(entered[0].folder), messages, plan, url) for messages in plan.lengths]
        typed: list[Figure] = []
        if url is not None:
            short = [messages for messages in plan.lengths if messages <= plan.typed_up_to]
            async with _entered(plan, [s.Typed], url, short, 4) as entered:
                typed = await interleaved(entered, turns=1, repetitions=3, fresh_sessions=True)
        head = ["at message", "store+loop ms", f"at {plan.lengths[0]} = 1", "client ms"]
        head += ["fresh process: open ms", "first turn ms", "of it client ms", "bare client, typed: ms"]
        rows = [
            [
                f"{messages:,}",
                median(figure.own),
                figure.own_ratio(figures[0]),
                median(figure.client),
                *(1000 * new[part] for part in ("open", "first_turn", "first_turn_client")),
                typed[place].ms if place < len(typed) else None,
            ]
            for place, (messages, figure, new) in enumerate(zip(plan.lengths, figures, fresh, strict=True))
        ]
        print(table(f"A turn in a session of so many messages, {where}", head, rows))
        found[where] = {
            str(messages): {"warm": asdict(figure), "fresh": new}
            for messages, figure, new in zip(plan.lengths, figures, fresh, strict=True)
        } | {"typed": [asdict(figure) for figure in typed]}
    return found


async def _fresh(folder: Path, messages: int, plan: Plan, url: str | None) -> dict[str, float]:
    """The median of several processes, each on a copy of its own."""
    filled = await s.filled(folder, messages, plan.repetitions + 1)
    said = []
    for number in range(max(1, min(3, plan.repetitions // 2))):
        copy = folder / f"fresh-{messages}-{number}.db"
        shutil.copyfile(filled, copy)
        said.append(await _child("open", str(copy), "s0", *([] if url is None else [url])))
    return {part: median(one[part] for one in said) for part in said[0]}


async def sessions(plan: Plan) -> dict[str, Any]:
    """Many sessions at once: turns a second, commits and flushes a turn."""
    found: dict[str, Any] = {}
    for where, url, kinds in (
        ("model in process", None, [s.Ours, s.OursNormal, s.OursNoStore, s.RawSqlite]),
        ("over HTTP", plan.url, [s.Ours, s.OursNoStore, s.Post, s.Typed]),
    ):
        for count in plan.sessions:
            each = max(2, plan.turns // count)
            async with _entered(plan, kinds, url) as entered:
                figures = await interleaved(entered, turns=each, repetitions=plan.repetitions, sessions=count)
            if url is None:
                figures[0].flushes = await _flushes(count, each * 2)
            head, rows = against(figures, figures[0], per_second=True)
            head.append("flushes a turn")
            for row, figure in zip(rows, figures, strict=True):
                row.append(figure.flushes)
            print(table(f"{count} session{'s' * (count > 1)} at once, {where}", head, rows))
            found[f"{where}, {count}"] = [asdict(figure) for figure in figures]
    return found


async def _flushes(count: int, turns: int) -> float | None:
    """Flushes a turn, counted by strace between two marks; None where there is no strace, or it may not trace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile("r") as log:
        strace = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,access,faccessat,faccessat2", "-o", log.name]
        try:
            await _child("run", str(count), str(turns), wrapper=strace)
        except subprocess.CalledProcessError:
            return None
        lines = log.read().splitlines()
    marks = [number for number, line in enumerate(lines) if MARK in line]
    if len(marks) != 2:
        return None
    between = lines[marks[0] : marks[1]]
    return sum("fsync(" in line or "fdatasync(" in line for line in between) / (count * turns)


async def imports(plan: Plan) -> dict[str, Any]:
    """`import power_loop` against `import pydantic` plus `import sqlite3`; and what the openai client adds."""
    codes: Final = {
        "import pydantic, sqlite3": "import pydantic, sqlite3; pydantic.BaseModel",
        "import power_loop": "import power_loop",
        "... and build OpenAIChatService": (
            "import power_loop; power_loop.OpenAIChatService(model='m', api_key='k', base_url='http://127.0.0.1:1/v1')"
        ),
        "(an empty interpreter)": "pass",
    }
    times: dict[str, list[float]] = {name: [] for name in codes}
    for repetition in range(-1, plan.repetitions):
        for name, code in codes.items():
            timed = f"from time import perf_counter as now\nbegun = now()\n{code}\nprint(now() - begun)"
            taken = float(await _output([sys.executable, "-c", timed])) * 1000
            if repetition >= 0:
                times[name].append(taken)
    base = times["import pydantic, sqlite3"]
    rows = [
        [name, median(all_of_it), median(mine / theirs for mine, theirs in zip(all_of_it, base, strict=True))]
        for name, all_of_it in times.items()
    ]
    print(table("Import", ["", "ms", "pydantic+sqlite3 = 1"], rows))
    return times


async def _child(*arguments: str, wrapper: Sequence[str] = ()) -> dict[str, float]:
    said: dict[str, float] = json.loads(await _output([*wrapper, sys.executable, "-m", "bench.child", *arguments]))
    return said


async def _output(command: Sequence[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return out


WORKLOADS: Final[dict[str, Workload]] = {"turn": turn, "length": length, "sessions": sessions, "imports": imports}
