"""Deleting a session costs what it holds, whatever else is in the database. Counted are SQLite's steps, not time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from power_loop import open_store
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import SessionId
from tests.store import sample
from tests.store.kit import assert_sound, copied, tables


def multiplied(path: Path, times: int) -> None:
    """All sessions of the database once more, so many times."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TEMP TABLE copies AS SELECT value * 1000 AS more FROM json_each(?)",
                           [str([*range(1, times + 1)])])  # fmt: skip
        for table in tables(connection):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = {name: name for name in columns if (table, name) != ("inputs", "number")}
            if table == "sessions":
                values |= {"key": "key + more", "id": "id || more", "parent": "parent + more"}
            elif "session" in columns:
                values["session"] = "session + more"
            else:
                continue
            into, of = ", ".join(values), ", ".join(values.values())
            connection.execute(f"INSERT INTO {table} ({into}) SELECT {of} FROM {table}, copies")
        connection.commit()


async def steps_of_deleting(path: Path, session: str) -> int:
    store = await open_store(path)
    assert isinstance(store, SqliteStore)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    store._threads[0].raw.set_progress_handler(step, 1)
    await store.delete_session(SessionId(session))
    store._threads[0].raw.set_progress_handler(None, 1)
    await store.aclose()
    return steps


async def test_deleting_a_session_passes_no_row_of_another(tmp_path: Path) -> None:
    few = await sample.write(tmp_path)
    many = copied(few, tmp_path / "many.db")
    multiplied(few, 2)
    multiplied(many, 200)
    assert_sound(many)
    counted = await steps_of_deleting(few, "alpha")  # and beta below it, in which inputs wait
    assert counted > 100
    assert await steps_of_deleting(many, "alpha") == counted
