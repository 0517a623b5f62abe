"""A database of a million messages against a small one: opening, first sends, lists, and the plans behind them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import ask, output
from bench.scale.statements import listening, plans_of, reader_of, replay, with_text
from bench.scale.turn import MESSAGES_A_TURN, STANDARD, fill, loop_over
from power_loop import SessionInfo
from power_loop.store import open_store

PAGE: Final = 50
SMALL: Final = 100
TURNS: Final = 2
FIRSTS: Final = ("open", "first send", "second send")
LOOKS: Final = ("list, first page", "list, page in the middle", "get_session", "get_messages")


async def measure(plan: Plan) -> Found:
    """Build the databases, measure over them, remove them."""
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        sessions = 400 if plan.quick else 100_000
        about = await ask(build, folder=folder, sessions=sessions, empty=_repetitions(plan))
        return await measured(plan, Path(folder), f"{folder}/large.db", about)


async def build(folder: str, sessions: int, empty: int) -> dict[str, Any]:
    """`large.db` (if there are sessions for it), `small.db`, and databases without any session, one a repetition."""
    begun = perf_counter()
    size = await fill(f"{folder}/large.db", sessions, TURNS) if sessions else 0
    built = perf_counter() - begun
    await fill(f"{folder}/small.db", SMALL, TURNS)
    for number in range(empty):
        await fill(f"{folder}/empty{number}.db", 0, 0)
    return {"sessions": sessions, "bytes": size, "built": built}


def _repetitions(plan: Plan) -> int:
    return 1 if plan.quick else plan.repetitions


async def measured(plan: Plan, folder: Path, large: str, about: dict[str, Any]) -> Found:
    """Everything, over databases that are there already; they are sent to."""
    small = str(folder / "small.db")
    firsts: dict[str, list[dict[str, float]]] = {name: [] for name in ("existing large", "existing small")}
    firsts |= {name: [] for name in ("new large", "new empty")}
    looks: dict[str, list[dict[str, Any]]] = {"large": [], "small": []}
    command: dict[str, list[float]] = {"large": [], "small": []}
    for number in range(_repetitions(plan)):
        # Sessions of the middle: those at the ends are the likeliest to be in a cache.
        old, young = f"s{about['sessions'] // 2 + number}", f"s{SMALL // 2 + number}"
        cases: list[tuple[str, str, str | None]] = [
            ("existing large", large, old),
            ("existing small", small, young),
            ("new large", large, None),
            ("new empty", str(folder / f"empty{number}.db"), None),
        ]
        for name, database, session in cases[number % 4 :] + cases[: number % 4]:
            firsts[name].append(await ask(first_sends, database=database, session=session))
        for name, database in (("large", large), ("small", small)):
            looks[name].append(await ask(look, database=database, rounds=3 if plan.quick else 15))
            command[name].append(await _command(database))
    work = await ask(works_of, large=large, small=small, existing="s7")
    return _found(about, firsts, looks, command, work)


async def first_sends(database: str, session: str | None) -> dict[str, float]:
    """A fresh process opens a database and sends: seconds."""
    begun = perf_counter()
    async with loop_over(database) as loop:
        opened = perf_counter()
        sent = await loop.send(STANDARD.question, session)
        first = perf_counter()
        await loop.send(STANDARD.question, sent.session_id)
        second = perf_counter()
    assert sent.status == "completed"
    return dict(zip(FIRSTS, (opened - begun, first - opened, second - first), strict=True))


async def look(database: str, rounds: int) -> dict[str, Any]:
    """Lists and looks in a fresh process, and the list's own statements by sqlite3 alone, in turns: seconds each."""
    store = await open_store(database, create=False, read_only=True)
    found: dict[str, Any] = {"statements": {}, "rows": {}}
    try:
        async with loop_over(store) as loop:
            id = _middle(database)
            middle = await loop.get_session(id)
            asked: dict[str, Callable[[], Awaitable[object]]] = {
                LOOKS[0]: lambda: loop.list_sessions(limit=PAGE),
                LOOKS[1]: lambda: loop.list_sessions(limit=PAGE, before=middle),
                LOOKS[2]: lambda: loop.get_session(id),
                LOOKS[3]: lambda: loop.get_messages(id),
            }
            with closing(reader_of(database)) as bare:
                for name, question in asked.items():
                    with listening(store) as heard:
                        await question()
                    runs = with_text(heard.runs)
                    found["statements"][name] = len(runs)
                    found["rows"][name] = replay(bare, runs)
                    ours, raw = found[name], found[f"{name}, raw"] = [], []
                    for _ in range(rounds):
                        begun = perf_counter()
                        await question()
                        between = perf_counter()
                        replay(bare, runs)
                        raw.append(perf_counter() - between)
                        ours.append(between - begun)
    finally:
        await store.aclose()
    return found


def _middle(database: str) -> str:
    """The session in the middle of the list."""
    with closing(reader_of(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
        sql = "SELECT id FROM sessions ORDER BY updated_at DESC, key DESC LIMIT 1 OFFSET ?"
        (id,) = connection.execute(sql, (count // 2,)).fetchone()
    return str(id)


async def works_of(existing: str, **databases: str) -> dict[str, Any]:
    return {name: await work_of(database, existing) for name, database in databases.items()}


async def work_of(database: str, existing: str) -> dict[str, Any]:
    """What SQLite does for each operation: statements, steps of its virtual machine, and how it finds the rows."""
    store = await open_store(database, create=False)
    found: dict[str, Any] = {}
    try:
        async with loop_over(store) as loop:
            middle: SessionInfo = await loop.get_session(_middle(database))
            for name, operation in {
                "send to an existing session": lambda: loop.send(STANDARD.question, existing),
                "send to it again": lambda: loop.send(STANDARD.question, existing),
                "send to a new session": lambda: loop.send(STANDARD.question),
                LOOKS[0]: lambda: loop.list_sessions(limit=PAGE),
                LOOKS[1]: lambda: loop.list_sessions(limit=PAGE, before=middle),
                LOOKS[2]: lambda: loop.get_session(existing),
                LOOKS[3]: lambda: loop.get_messages(existing),
                "get_pending": lambda: loop.get_pending(existing),
                "recover": lambda: loop.recover("report"),
            }.items():
                with listening(store, count_steps=True) as heard:
                    await operation()  # type: ignore[no-untyped-call]
                plans = asdict(plans_of(database, heard.names))
                found[name] = {"statements": len(heard.runs), "names": heard.names, "steps": heard.steps, **plans}
    finally:
        await store.aclose()
    return found


async def _command(database: str) -> float:
    """Wall time of `power-loop sessions`, the interpreter's start included."""
    begun = perf_counter()
    said = await output(
        [sys.executable, "-c", "from power_loop.cli import main; main()", "--db", database, "sessions", "--json"]
    )
    taken = perf_counter() - begun
    assert len(json.loads(said)["sessions"]) == PAGE
    return taken


def _found(about: Any, firsts: Any, looks: Any, command: Any, work: Any) -> Found:
    rows: list[list[Any]] = []
    ratios: dict[str, float] = {}
    for what, large, small in (("existing", "existing large", "existing small"), ("new", "new large", "new empty")):
        for part in FIRSTS:
            a, b = ([one[part] for one in firsts[name]] for name in (large, small))
            ratios[f"{what}: {part}"] = _ratio(a, b)
            rows.append([f"{part}, {what} session", median(a) * 1000, median(b) * 1000, _ratio(a, b), None, None, None])
    for name in LOOKS:
        a, b = ([median(one[name]) for one in looks[size]] for size in ("large", "small"))
        raws = [median(one[f"{name}, raw"]) for one in looks["large"]]
        over = median(_ratio(one[name], one[f"{name}, raw"]) for one in looks["large"])
        ratios[f"{name}: over raw"] = over
        count = looks["large"][0]["statements"][name]
        rows.append([name, median(a) * 1000, median(b) * 1000, _ratio(a, b), median(raws) * 1000, over, count])
    cli = _ratio(command["large"], command["small"])
    rows.append(
        ["power-loop sessions", median(command["large"]) * 1000, median(command["small"]) * 1000, cli] + [None] * 3
    )
    messages = about["sessions"] * TURNS * MESSAGES_A_TURN
    times = Table(
        title=f"A database of {messages:,} messages ({about['bytes'] / 1e6:,.0f} MB) against a small one",
        head=["", "ms", "ms, small", "small = 1", "raw ms", "raw = 1", "statements"],
        rows=rows,
        note="Raw: the same statements with the same values by sqlite3 alone, fetched, on a connection of its own.",
    )
    heads = ["", "steps", "steps, small", "statements", "tables scanned", "indexes walked", "sorts"]
    done = Table(
        title="What SQLite does for it: steps of its virtual machine (counts), and EXPLAIN QUERY PLAN",
        head=heads,
        rows=[
            [name, one["steps"], work["small"][name]["steps"], one["statements"]]
            + [", ".join(one[part]) or None for part in ("table_scans", "index_walks", "sorts")]
            for name, one in work["large"].items()
        ],
    )
    targets = {
        "first_send_ratio": max(ratios["existing: first send"], ratios["new: first send"]),
        "list_ratio": max(ratios[f"{name}: over raw"] for name in LOOKS[:2]),
        "middle_page_steps_ratio": work["large"][LOOKS[1]]["steps"] / work["large"][LOOKS[0]]["steps"],
    }
    data = {"about": about, "firsts": firsts, "looks": looks, "command": command, "work": work, "ratios": ratios}
    return Found(tables=[times, done], data=data | {"targets": targets})


def _ratio(these: list[float], those: list[float]) -> float:
    return median(a / b for a, b in zip(these, those, strict=True))
