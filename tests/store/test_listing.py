"""A list tells of each session what one look at it tells, damage included, by one statement a page."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop, StoreDamagedError, StoreError, World, open_store
from tests.store import sample
from tests.store.kit import copied

PAGE: Final = 50


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(sample.write(tmp_path_factory.mktemp("listing")))


async def test_a_list_tells_what_a_look_at_each_tells(whole: Path) -> None:
    async with StatefulAgentLoop(db_path=whole) as loop:
        listed = await loop.list_sessions()
        assert {info.session_id for info in listed} == set(sample.SESSIONS)
        assert listed == [await loop.get_session(info.session_id) for info in listed]


async def test_a_page_of_sessions_at_rest_is_two_statements(tmp_path: Path) -> None:
    heard: list[str] = []
    store = await open_store(tmp_path / "agent.db", world=World(reached=heard.append))
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"] * PAGE), store=store) as loop:
        for number in range(PAGE):
            await loop.send("hi", await loop.create_session(f"s{number}"))
        await loop.create_session("new")
        heard.clear()
        page = await loop.list_sessions(limit=PAGE)
        asked = heard.copy()
        assert [info.session_id for info in page] == ["new", *(f"s{number}" for number in reversed(range(1, PAGE)))]
        assert asked == ["sql.list_sessions", "sql.sessions_at_a_glance"]
    await store.aclose()


COLUMNS: Final = {
    "sessions": "model metadata created_at updated_at epoch owner owner_since next_seq next_turn active usage_rows "
    "recoveries archived_at closed_at quarantined_at crc",
    "turns": "origin epoch request_id metadata owner started_at crc state rounds tool_calls ended_at status "
    "stop_reason error_code error answer_seq end_crc",
}
ODD: Final = (None, -1, 0, 2, 2**62, "x", "{}", "done", "asking", b"\xff")


@pytest.mark.parametrize(("table", "column"), [(table, one) for table in COLUMNS for one in COLUMNS[table].split()])
async def test_damage_is_the_same_in_a_list(whole: Path, tmp_path: Path, table: str, column: str) -> None:
    for number, value in enumerate(ODD):
        path = copied(whole, tmp_path / f"{number}.db")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            last = "session = 1 AND number = (SELECT max(number) FROM turns t WHERE t.session = 1)"
            where = last if table == "turns" else "key = 1"
            text = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
            try:
                connection.execute(f"UPDATE {table} SET {column} = {text} WHERE {where}", [value])
            except sqlite3.IntegrityError:
                continue  # what the column never holds
            connection.commit()
        async with StatefulAgentLoop(db_path=path) as loop:
            alone = await said(loop.get_session("alpha"))
            listed = await said(loop.list_sessions(archived=True))
        found = [info for info in listed if info.session_id == "alpha"] if isinstance(listed, list) else [listed]
        assert found == [alone], value


async def said(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except StoreError as error:
        return f"{type(error).__name__}: {error}"


async def test_an_open_call_that_is_not_found_is_not_forgotten(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path / "agent.db")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("DELETE FROM calls WHERE result_seq IS NULL AND session = 3").rowcount > 0
        connection.commit()
    async with StatefulAgentLoop(db_path=path) as loop:
        with pytest.raises(StoreDamagedError, match=r"the list of open calls \(0 of 1 are there\)") as caught:
            await loop.list_sessions()
        assert caught.value.session_id == "gamma"
