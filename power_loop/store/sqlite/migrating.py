"""Upgrades: forward only, checksummed, one transaction each, after a backup copy."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from power_loop.errors import StoreSchemaError
from power_loop.values import World

APPLICATION_ID: Final = 0x504C4F50
"""`PLOP`, in the header of every file of ours; the first migration sets it."""

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.blake2b(self.sql.encode(), digest_size=16).hexdigest()


def folder(dialect: str) -> Path:
    """Where the migrations are: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "migrations" / dialect
    return installed if installed.is_dir() else package.parent / "migrations" / dialect


def load(where: Path) -> Sequence[Migration]:
    """The migrations in a folder, numbered 1, 2, ... without a gap."""
    found = []
    for file in sorted(where.iterdir()):
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    assert [migration.version for migration in found] == list(range(1, len(found) + 1)), f"gaps in {where}"
    return found


def version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def check(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Refuse a file this code must not touch; reads only.

    Raises:
        StoreSchemaError: the file is newer, or its schema does not come from these migrations.
    """
    at = version(connection)
    if at > len(migrations):
        raise StoreSchemaError(
            str(path),
            f"its schema is version {at}, this release knows up to {len(migrations)}",
            "upgrade power-loop; the file was not touched",
            code="store.schema_newer",
        )
    listed = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_migrations'").fetchone()[0]
    applied: list[tuple[int, str, str]] = []
    if listed:
        applied = connection.execute(
            "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
        ).fetchall()
    expected = [(migration.version, migration.name, migration.checksum) for migration in migrations[: max(at, 0)]]
    if at < 1 or applied != expected:
        raise StoreSchemaError(
            str(path),
            "its schema was not made by the migrations of this release",
            "open it with the release that made it; the file was not touched",
            code="store.schema_changed",
        )


def upgrade(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], world: World) -> None:
    """Bring the schema up to date. A kill at any instant leaves a whole version, old or new, and the backup."""
    before = version(connection)
    if 0 < before < len(migrations):
        _back_up(connection, path, before)
    for migration in migrations[before:]:
        world.reached("sql.begin")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) == migration.version - 1:  # nobody else was faster
                for statement in statements(migration.sql):
                    world.reached(f"sql.migrate.{migration.version}")
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                    (migration.version, migration.name, migration.checksum, world.micros()),
                )
                assert version(connection) == migration.version, f"{migration.name} sets another user_version"
            world.reached("sql.commit")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def statements(sql: str) -> Iterator[str]:
    """The single statements of a script: `executescript` would commit our transaction first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if ";" in line and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not re.sub(r"--.*", "", statement).strip(), f"the script ends inside a statement: {statement!r}"


def backup_path(path: Path, at: int) -> Path:
    return path.with_name(f"{path.name}.v{at}.backup")


def _back_up(connection: sqlite3.Connection, path: Path, at: int) -> None:
    target = backup_path(path, at)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            copied = version(copy)
        if copied == at:  # else another process upgraded the file meanwhile, and made the backup
            os.replace(unfinished, target)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folder(where: Path) -> None:
    """Make what was created or renamed in a folder survive a power cut."""
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
