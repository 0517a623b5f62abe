"""A file is upgraded once, whole, after a backup; one that this code must not touch is refused without a write."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop, StoreSchemaError, World, open_store
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.opening import Opening, checked_path, open_writer
from tests.store import sample
from tests.store.kit import (
    MIGRATIONS,
    assert_sound,
    beside,
    child,
    dump,
    files,
    in_fork,
    looked,
    migrated,
    says,
    schema_of,
    tell,
)

pytestmark = pytest.mark.acceptance("A3")

NOW = len(migrating.load(MIGRATIONS))
"""Today's schema; two more come in `later`."""

FIRST = f"""
PRAGMA user_version = {NOW + 1};
ALTER TABLE sessions ADD COLUMN label TEXT;
CREATE TABLE labels (session INTEGER PRIMARY KEY REFERENCES sessions (key) ON DELETE CASCADE, label TEXT) STRICT;
INSERT INTO labels SELECT key, 'label; of ' || id FROM sessions;
"""
SECOND = f"""
UPDATE sessions SET label = (SELECT label FROM labels WHERE session = key); -- one; line
DROP TABLE labels;
PRAGMA user_version = {NOW + 2};
CREATE INDEX sessions_by_label ON sessions (label);
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a release to come."""
    folder = Path(shutil.copytree(MIGRATIONS, tmp_path / "later"))
    (folder / f"{NOW + 1:04d}_labels.sql").write_text(FIRST)
    (folder / f"{NOW + 2:04d}_one_table.sql").write_text(SECOND)
    return folder


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of today."""
    return asyncio.run(sample.write(tmp_path_factory.mktemp("older")))


@pytest.fixture
def path(older: Path, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return Path(shutil.copy(older, home / "agent.db"))


def version_of(path: Path) -> int:
    with looked(path) as connection:
        return migrating.version(connection)


def rows_of(path: Path) -> object:
    """All rows, but for what the migrations add."""
    rows = dump(path)
    sessions = [row[:20] for row in rows.pop("sessions")]
    return sessions, {name: rows[name] for name in ("turns", "messages", "calls", "usage", "compactions", "inputs")}


async def test_a3_an_older_file_is_upgraded_once_after_a_backup_and_keeps_every_row(path: Path, later: Path) -> None:
    before, old_schema = dump(path), rows_of(path)
    store = await open_store(path, migrations=later)
    await store.aclose()
    assert version_of(path) == NOW + 2
    assert rows_of(path) == old_schema
    assert [row[-1] for row in dump(path)["sessions"]] == [f"label; of {name}" for name in sample.SESSIONS]
    backup = migrating.backup_path(path, NOW)
    assert dump(backup) == before
    assert backup.stat().st_mode & 0o777 == 0o600
    assert beside(path) == ["agent.db", f"agent.db.v{NOW}.backup"]
    assert_sound(path)
    changed = backup.stat().st_mtime_ns
    again = await open_store(path, migrations=later)
    await again.aclose()
    assert (backup.stat().st_mtime_ns, beside(path)) == (changed, ["agent.db", f"agent.db.v{NOW}.backup"])
    assert [row[1] for row in dump(path)["schema_migrations"]][NOW:] == ["labels", "one_table"]


async def test_a3_an_upgraded_file_reads_resumes_and_sends(path: Path, later: Path) -> None:
    store = await open_store(path, migrations=later)
    async with StatefulAgentLoop(llm=ScriptedLLM(["resumed", "sent"]), store=store) as loop:
        assert (await loop.get_messages("alpha"))[-1].text == "after the fold"
        assert (await loop.resume("gamma", in_doubt="report")).final_text == "resumed"
        assert (await loop.send("and?", "alpha")).final_text == "sent"
    await store.aclose()


OPENER = """
from pathlib import Path
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_store(sys.argv[1], migrations=Path(sys.argv[2]))
    await store.aclose()
    print("open", flush=True)
asyncio.run(main())
"""


def test_a3_processes_that_open_at_once_upgrade_once(path: Path, later: Path) -> None:
    before = rows_of(path)
    with (
        child(OPENER, path, later) as a,
        child(OPENER, path, later) as b,
        child(OPENER, path, later) as c,
    ):
        for process in (a, b, c):
            says(process, "ready")
        for process in (a, b, c):
            tell(process)
        for process in (a, b, c):
            says(process, "open")
    assert version_of(path) == NOW + 2
    assert rows_of(path) == before
    assert len(dump(path)["schema_migrations"]) == NOW + 2
    assert version_of(migrating.backup_path(path, NOW)) == NOW
    assert beside(path) == ["agent.db", f"agent.db.v{NOW}.backup"]


def how(path: Path, migrations: Path, world: World) -> Opening:
    return Opening(path=checked_path(path), migrations=migrations, world=world)


def killed_at(path: Path, migrations: Path, point: int) -> str | None:
    """Open the file in a child that is killed at its nth statement; the name of it, or None if it came to its end."""
    read, write = os.pipe()
    passed = 0

    def reached(name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.write(write, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    code = in_fork(lambda: open_writer(how(path, migrations, World(reached=reached))).close())
    os.close(write)
    with open(read, "rb") as said:
        name = said.read().decode()
    assert code == (-signal.SIGKILL if name else 0)
    return name or None


def test_a3_a_kill_at_any_statement_of_an_upgrade_leaves_old_or_new(path: Path, later: Path) -> None:
    schemas = {}
    for version in (NOW, NOW + 1, NOW + 2):
        with closing(migrated(later, version)) as model:
            schemas[version] = schema_of(model)
    rows, pristine = rows_of(path), path.read_bytes()
    names, seen, point = [], set(), 0
    while True:
        point += 1
        for entry in path.parent.iterdir():
            entry.unlink()
        path.write_bytes(pristine)
        name = killed_at(path, later, point)
        if name is None:
            break
        names.append(name)
        assert_sound(path)
        version = version_of(path)
        seen.add(version)
        with looked(path) as connection:
            assert schema_of(connection) == schemas[version], f"a mix after a kill at {name} ({point})"
        assert rows_of(path) == rows
        assert version_of(migrating.backup_path(path, NOW)) == NOW
        assert killed_at(path, later, 0) is None
        assert version_of(path) == NOW + 2
        assert rows_of(path) == rows
    assert [names.count(f"sql.migrate.{number}") for number in (NOW + 1, NOW + 2)] == [4, 4]
    assert names.count("sql.begin") == names.count("sql.commit") == 2
    assert seen == {
        NOW,
        NOW + 1,
    }  # at the last commit it is still the one before; after it there is nothing left to kill


def test_a3_a_kill_at_any_statement_of_making_a_file_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    point, names = 0, []
    while True:
        point += 1
        home = tmp_path / str(point)
        home.mkdir()
        path = home / "agent.db"
        name = killed_at(path, MIGRATIONS, point)
        if name is None:
            break
        names.append(name)
        assert not path.exists()
        assert killed_at(path, MIGRATIONS, 0) is None
        assert version_of(path) == NOW
    assert names[0] == "store.create"
    assert names[-1] == "store.put_in_place"
    assert len(names) > 20


@pytest.mark.parametrize("read_only", [False, True])
async def test_a3_a_newer_file_is_refused_without_a_write(path: Path, later: Path, read_only: bool) -> None:
    store = await open_store(path, migrations=later)
    await store.aclose()
    before = files(path)
    with pytest.raises(StoreSchemaError) as caught:
        await open_store(path, read_only=read_only)
    assert caught.value.code == "store.schema_newer"
    assert str(path) in str(caught.value)
    assert "upgrade power-loop" in str(caught.value)
    after = files(path)
    assert after["agent.db"] == before["agent.db"]
    assert read_only or after == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE schema_migrations SET checksum = 'another'",
        "UPDATE schema_migrations SET name = 'another'",
        "DELETE FROM schema_migrations",
        "DROP TABLE schema_migrations",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
    ],
)
async def test_a3_a_schema_that_is_not_of_these_migrations_is_refused_without_a_write(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    before = files(path)
    with pytest.raises(StoreSchemaError) as caught:
        await open_store(path)
    assert caught.value.code == "store.schema_changed"
    assert files(path) == before


async def test_a3_a_migration_that_fails_changes_nothing(path: Path, later: Path) -> None:
    (later / f"{NOW + 2:04d}_one_table.sql").write_text(
        f"PRAGMA user_version = {NOW + 2};\nCREATE TABLE fine (a);\nCREATE TABLE sessions (a);"
    )
    rows = rows_of(path)
    with pytest.raises(Exception, match="sessions already exists") as caught:
        await open_store(path, migrations=later)
    assert str(path) in str(caught.value)
    assert version_of(path) == NOW + 1
    assert "fine" not in dump(path)
    assert rows_of(path) == rows


async def test_a3_reading_alone_upgrades_nothing_and_says_so(path: Path, later: Path) -> None:
    before = files(path)["agent.db"]
    with pytest.raises(StoreSchemaError) as caught:
        await open_store(path, read_only=True, migrations=later)
    assert caught.value.code == "store.schema_older"
    assert files(path)["agent.db"] == before
