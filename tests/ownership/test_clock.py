"""The clock jumps by days, stands still, runs backwards, and stood before 1970: nothing but times is any different."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import (
    AgentLoopConfig,
    PowerLoopError,
    SessionBusyError,
    SessionState,
    StatefulAgentLoop,
    StoreDamagedError,
    World,
    tool,
)
from power_loop.values import from_micros, to_micros
from tests.loop.kit import history_is_valid, shown, valid
from tests.store.kit import child, dump, says

NOON: Final = datetime(2030, 6, 1, 12, tzinfo=UTC)
Clock = Callable[[], datetime]


def steady() -> Clock:
    moment = NOON

    def now() -> datetime:
        nonlocal moment
        moment += timedelta(milliseconds=1)
        return moment

    return now


def jumping() -> Clock:
    chance = random.Random(5)
    return lambda: NOON + timedelta(days=chance.uniform(-400, 400))


def backwards() -> Clock:
    moment = NOON

    def now() -> datetime:
        nonlocal moment
        moment -= timedelta(hours=7)
        return moment

    return now


CLOCKS: Final[dict[str, Callable[[], Clock]]] = {
    "jumps": jumping,
    "stands still": lambda: lambda: NOON,
    "runs backwards": backwards,
    "is before 1970": lambda: lambda: datetime(1903, 2, 3, tzinfo=UTC),
    "is at its end": lambda: lambda: datetime.max.replace(tzinfo=UTC),
    "is at its beginning": lambda: lambda: datetime(1, 1, 2, tzinfo=UTC),
}
TIMES: Final = ("_at", "at", "since", "crc", "owner", "milliseconds")
"""Columns that are times, or speak of them."""


@tool(effect="read")
async def look(n: int) -> str:
    """Looks."""
    return f"{n}: " + "so much was seen " * 30


def model(request: Any) -> Any:
    lines = shown(request)
    if "memory of an assistant" in lines[0]:
        return "the note"
    return calls(("look", {"n": 1}), ("look", {"n": 2})) if lines[-1].startswith("user: ") else "done"


async def a_life(path: Path, clock: Clock, warm: int = 256) -> list[list[str]]:
    """Some turns with calls and compactions; all that the model was asked, in short."""
    llm = ScriptedLLM([model] * 60)
    config = AgentLoopConfig(context_window=1400, compact_at=0.5, synchronous="NORMAL", warm_sessions=warm)
    ids = iter(range(1000))
    world = World(now=clock, new_id=lambda: f"id{next(ids)}")
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look], config=config, world=world) as loop:
        for session in ("a", "b"):
            await loop.create_session(session)
        for number in range(5):
            for session in ("a", "b"):
                await loop.send(f"input {number}", session)
        assert valid(*llm.requests)
        for session in ("a", "b"):
            assert await history_is_valid(loop, session)
        first, second = [await page(loop, None), await page(loop, (await page(loop, None))[0])]
        assert {first[0].session_id, second[0].session_id} == {"a", "b"}, "pages hold every session once"
        asked = [shown(request) for request in llm.requests]
        assert any("the note" in line for line in asked[-1]), "history was folded"
        return asked


async def page(loop: StatefulAgentLoop, before: Any) -> list[Any]:
    return await loop.list_sessions(limit=1, before=before)


def timeless(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        kept = {}
        for name in ("sessions", "turns", "messages", "calls", "usage", "compactions"):
            columns = [
                column for _, column, *_ in db.execute(f"PRAGMA table_info({name})") if not column.endswith(TIMES)
            ]
            kept[name] = db.execute(f"SELECT {', '.join(columns)} FROM {name} ORDER BY 1, 2, 3").fetchall()
        return kept


@pytest.mark.acceptance("D1", "A5")
@pytest.mark.parametrize("name", CLOCKS)
async def test_what_is_stored_and_what_the_model_sees_do_not_depend_on_the_clock(tmp_path: Path, name: str) -> None:
    expected = await a_life(tmp_path / "steady.db", steady())
    assert await a_life(tmp_path / "a.db", CLOCKS[name]()) == expected
    assert timeless(tmp_path / "a.db") == timeless(tmp_path / "steady.db")


@pytest.mark.acceptance("D1")
@pytest.mark.parametrize("name", CLOCKS)
async def test_history_that_is_read_again_for_every_turn_costs_an_early_fold_at_most(tmp_path: Path, name: str) -> None:
    """Whether a compaction came after the last count of tokens is told by their times: the one place that asks."""
    await a_life(tmp_path / "steady.db", steady(), warm=0)
    await a_life(tmp_path / "a.db", CLOCKS[name](), warm=0)
    expected, found = timeless(tmp_path / "steady.db"), timeless(tmp_path / "a.db")
    assert len(found["turns"]) == len(expected["turns"])
    assert len(found["compactions"]) >= len(expected["compactions"])


@pytest.mark.parametrize("at", [datetime.min, datetime(1969, 12, 31, 23, 59, 59, 999_999), NOON, datetime.max])
def test_times_are_stored_to_the_microsecond(at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    assert from_micros(to_micros(at)) == at


OWNER = """
from datetime import UTC, datetime, timedelta
async def hang(request):
    print("asking", flush=True)
    await asyncio.Event().wait()
async def main():
    world = World(now=lambda: datetime.now(UTC) + timedelta(days=int(sys.argv[2])))
    async with StatefulAgentLoop(llm=ScriptedLLM([hang]), db_path=sys.argv[1], world=world) as loop:
        await loop.create_session("s")
        await loop.send("go", "s")
asyncio.run(main())
"""


@pytest.mark.acceptance("D1", "B4")
@pytest.mark.parametrize("days", [-20_000, -1, 0, 1, 20_000])
async def test_the_living_are_not_replaced_and_the_dead_are_at_once_whatever_the_clocks_say(
    tmp_path: Path, days: int
) -> None:
    path = tmp_path / "a.db"
    with child(OWNER, path, days) as owner:
        says(owner, "asking")
        async with StatefulAgentLoop(llm=ScriptedLLM(["mine"]), db_path=path, world=World(now=jumping())) as loop:
            assert (await loop.get_session("s")).state is SessionState.RUNNING
            assert await loop.recover("resume") == []
            with pytest.raises(SessionBusyError):
                await loop.send("mine", "s", if_busy="raise")
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            (taken,) = await loop.recover("resume")
            assert taken.result is not None
            assert taken.result.final_text == "mine"
            assert await loop.recover("resume") == []


def reads(loop: StatefulAgentLoop) -> Iterable[Callable[[], Any]]:
    yield lambda: loop.get_session("a")
    yield loop.list_sessions
    yield lambda: loop.get_messages("a", include_compacted=True)
    yield lambda: loop.get_calls("a")
    yield lambda: loop.get_turns("a")
    yield lambda: loop.get_usage("a")
    yield loop.recover
    yield lambda: loop.resume("a")
    yield lambda: loop.send("and now", "a")


@pytest.mark.acceptance("A9")
@pytest.mark.parametrize("moment", [-(2**63), -(10**18), 10**18, 2**63 - 1])
async def test_a_stored_time_that_is_none_is_damage_and_nothing_else(tmp_path: Path, moment: int) -> None:
    """Before the year 1 or after 9999: no code of ours writes it, and reading it must not end in a `ValueError`."""
    path = tmp_path / "a.db"
    await a_life(path, steady())
    with closing(sqlite3.connect(path)) as db:
        columns = [
            (table, column)
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for _, column, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()
            if column.endswith("_at") or column == "at"
        ]
    assert len(columns) > 12
    refused = 0
    for table, column in columns:
        copy = tmp_path / f"{table}.{column}.db"
        copy.write_bytes(path.read_bytes())
        with closing(sqlite3.connect(copy)) as db, db:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS NOT NULL", [moment])
        before = dump(copy)
        errors: list[PowerLoopError] = []
        async with StatefulAgentLoop(llm=ScriptedLLM([model] * 9), db_path=copy, tools=[look]) as loop:
            for read in reads(loop):
                try:
                    await read()
                except PowerLoopError as error:
                    errors.append(error)
        assert all(isinstance(error, StoreDamagedError) for error in errors), (table, column, errors)
        refused += bool(errors)
        if len(errors) == len(list(reads(loop))):
            assert dump(copy) == before
    assert refused > 8
