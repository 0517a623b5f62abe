"""Guards of files, locks and rows that only an unlucky instant or a damaged disk meets."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import calls
from power_loop import Status, StoreDamagedError, World, open_store, tool
from power_loop.store.contract import Begun, Input, NewSession
from power_loop.store.port import seal
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.opening import Opening, checked_path, open_writer
from power_loop.values import SessionId
from tests.store.kit import MIGRATIONS, a_loop, child

S = SessionId("s")
HELLO = '{"role":"user","content":"hello"}'


@pytest.mark.acceptance("A1", "D1")
async def test_what_a_change_has_read_nobody_changes_before_it_has_written(tmp_path: Path) -> None:
    """From its first read to its commit a change is alone: another program gets no write lock in between."""
    path = tmp_path / "agent.db"
    tried: dict[str, str] = {}

    def reached(point: str) -> None:
        if not point.startswith("sql.") or point in ("sql.begin", "sql.migrate.1", "sql.migrate.2") or not looking:
            return
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
                tried[point] = "let in"
                other.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                tried[point] = str(error)

    looking = False
    store = await open_store(path, world=World(reached=reached))
    await store.create_session(NewSession(id=S))
    looking = True
    assert isinstance(await store.begin_turn(Input(session=S, body=HELLO)), Begun)
    looking = False
    assert "sql.session_by_id" in tried, "the first read"
    assert "sql.commit" in tried
    assert set(tried.values()) == {"database is locked"}
    await store.aclose()


@pytest.mark.acceptance("D1")
def test_an_owner_is_never_seen_without_its_lock(tmp_path: Path) -> None:
    """Looked at in the very instant in which its file gets the name that others look for."""
    code = """
import fcntl
from pathlib import Path
from power_loop.store.sqlite.owners import Owners

seen = []

def hook(event, arguments):
    if event == "os.rename":
        lock = os.open(arguments[0], os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            seen.append("free")
        except BlockingIOError:
            seen.append("locked")
        finally:
            os.close(lock)

sys.addaudithook(hook)
owners = Owners(Path(sys.argv[1]), "us")
owners.enlist()
print(*seen)
owners.leave()
"""
    with child(code, tmp_path / "agent.db") as process:
        said, _ = process.communicate(timeout=30)
    assert said == "locked\n"


def making(path: Path, world: World, *, create: bool | None = None) -> Opening:
    return Opening(path=checked_path(path), create=create, migrations=MIGRATIONS, world=world)


@pytest.mark.acceptance("A7")
@pytest.mark.parametrize("create", [None, True])
def test_who_comes_second_uses_the_database_of_the_first(tmp_path: Path, create: bool | None) -> None:
    """While one process puts its new database in place another one has done so already, and tidied up."""
    path = tmp_path / "agent.db"
    first: list[Any] = []
    if create:
        path.touch()

    def reached(point: str) -> None:
        if point == "store.put_in_place":
            with closing(open_writer(making(path, World(), create=create))) as connection:
                connection.execute("UPDATE schema_migrations SET applied_at = 7")
            first.append(os.stat(path).st_ino)

    with closing(open_writer(making(path, World(reached=reached), create=create))) as connection:
        assert connection.execute("SELECT DISTINCT applied_at FROM schema_migrations").fetchall() == [(7,)]
    assert [os.stat(path).st_ino] == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent.db"]


@pytest.mark.acceptance("A3")
def test_a_backup_is_of_the_version_it_says(tmp_path: Path) -> None:
    """A process that found an older file copies it after another has upgraded it: the copy is thrown away."""
    path = tmp_path / "agent.db"
    with closing(open_writer(making(path, World()))) as connection:
        backup = migrating.backup_path(path, 1)
        backup.write_bytes(b"the backup of who was faster")
        migrating._back_up(connection, path, 1)
    assert backup.read_bytes() == b"the backup of who was faster"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["agent.db", backup.name]


@pytest.mark.acceptance("A9")
def test_a_seal_tells_texts_from_each_other_wherever_they_are_parted() -> None:
    parted = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc", ""),
        ("", "abc"),
        ("abc", None),
        (None, "abc"),
        ("abc",),
        ("a", "b", "c"),
    ]
    assert len({seal(*texts) for texts in parted}) == len(parted)


async def talked(path: Path) -> None:
    """A session of two turns, the first with two calls; all of it settled."""
    script = [calls(("look", {}), ("look", {})), "one", "two"]
    async with a_loop(path, script, tools=[tool(look, effect="read")]) as loop:
        await loop.create_session("s")
        await loop.send("first", "s")
        await loop.send("second", "s")


def look() -> str:
    """Looks."""
    return "seen"


def redefined(path: Path, index: str, sql: str) -> str:
    """Give an index another definition and leave its pages as they are; the old definition."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(old,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, index))
        [(version,)] = connection.execute("PRAGMA schema_version").fetchall()
        connection.execute(f"PRAGMA schema_version = {version + 1}")
    return str(old)


@pytest.mark.acceptance("A9")
async def test_sound_rows_in_another_order_are_damage(tmp_path: Path) -> None:
    """The index says that it is sorted the other way round: every row is there and sound, the last one first."""
    path = tmp_path / "agent.db"
    await talked(path)
    sql = "CREATE UNIQUE INDEX active_messages ON messages (session, place DESC) WHERE state = 'active'"
    redefined(path, "active_messages", sql)
    async with a_loop(path) as loop:
        with pytest.raises(StoreDamagedError, match="order"):
            await loop.get_messages("s")


@pytest.mark.acceptance("A9", "B2")
async def test_an_index_that_holds_settled_calls_makes_none_run_again(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await talked(path)
    partial = redefined(path, "open_calls", "CREATE INDEX open_calls ON calls (session, seq, ordinal)")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("REINDEX open_calls")
    redefined(path, "open_calls", partial)
    async with a_loop(path, ["never"]) as loop:
        # Whether SQLite believes the index or looks at the row is its own business; no call is open either way.
        try:
            assert await loop.get_pending("s") == []
        except StoreDamagedError:
            with pytest.raises(StoreDamagedError):
                await loop.resume("s")


@pytest.mark.acceptance("A9")
async def test_a_session_whose_last_turn_is_gone_does_not_go_on_from_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await talked(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM turns WHERE number = 2")
    async with a_loop(path, ["never"]) as loop:
        for going_on in (loop.get_session("s"), loop.send("third", "s"), loop.resume("s"), loop.abort_pending("s")):
            with pytest.raises(StoreDamagedError, match="turns"):
                await going_on


@pytest.mark.acceptance("A9", "B1")
@pytest.mark.parametrize("holds", ["seq < 0", "seq < 4"], ids=["nothing", "a settled one instead"])
async def test_an_index_that_lost_an_open_call_does_not_make_it_forgotten(tmp_path: Path, holds: str) -> None:
    path = tmp_path / "agent.db"
    entered = asyncio.Event()

    @tool
    async def pay() -> str:
        """Pays, until it is stopped."""
        entered.set()
        await asyncio.Event().wait()
        return "never"

    script = [calls(("look", {})), "one", calls(("pay", {}))]
    async with a_loop(path, script, tools=[pay, tool(look, effect="read")]) as loop:
        await loop.create_session("s")
        await loop.send("first", "s")
        assert (await loop.send("go", "s", stop_event=entered)).status is Status.STOPPED
    partial = redefined(path, "open_calls", f"CREATE INDEX open_calls ON calls (session, seq, ordinal) WHERE {holds}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("REINDEX open_calls")
    redefined(path, "open_calls", partial)
    async with a_loop(path, ["never"]) as loop:
        for going_on in (loop.get_pending("s"), loop.send("and now?", "s"), loop.resume("s"), loop.abort_pending("s")):
            with pytest.raises(StoreDamagedError):
                await going_on
