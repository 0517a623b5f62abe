"""Opening a database file: every check before the first write, and no new file ever put in the place of an old one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from power_loop.errors import StoreOpenError, StoreSchemaError
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.faults import translated
from power_loop.store.sqlite.placing import beside, gone, identity, put_in_place
from power_loop.values import World

Synchronous = Literal["FULL", "NORMAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How to open. `create`: None makes a missing file, True takes an empty one too, False wants one that is there."""

    path: Path
    create: bool | None = None
    read_only: bool = False
    synchronous: Synchronous = "FULL"
    busy_timeout: float = 10.0
    """Seconds to wait for another program's write lock."""
    migrations: Path
    world: World


def open_writer(how: Opening) -> sqlite3.Connection:
    """The read-write connection to a file of ours, up to date. Blocks: call it on the connection's own thread.

    Raises:
        StoreOpenError, StoreSchemaError, StoreDamagedError, StoreBusyError, ...: nothing was written, nothing replaced.
    """
    migrations = migrating.load(how.migrations)
    with translated(str(how.path)):
        if _missing(how):
            _create(how, migrations)
        # The first write to a read-only file would fail much later; find out now.
        if not os.access(how.path, os.W_OK) or not os.access(how.path.parent, os.W_OK | os.X_OK):
            raise _read_only()
        with closing(_connect(how, _looking(how.path))) as looked:
            _check_ours(looked, how.path, migrations)
        which = identity(how.path)
        connection = _connect(how, "rw")
        try:
            migrating.version(connection)  # waits for whoever replaces the file
            if identity(how.path) != which:
                raise gone(str(how.path))
            migrating.upgrade(connection, how.path, migrations, how.world)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(
                "PRAGMA synchronous = NORMAL" if how.synchronous == "NORMAL" else "PRAGMA synchronous = FULL"
            )
            connection.execute("PRAGMA journal_size_limit = 4194304")
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreOpenError(
                    str(how.path), f"it cannot use a write-ahead log (journal mode {mode})", "put it on a local disk"
                )
            # A connection that never read through a log it has just begun would not remove it when it closes.
            migrating.version(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(how: Opening) -> sqlite3.Connection:
    """A connection that only reads, and never checkpoints."""
    migrations = migrating.load(how.migrations)
    with translated(str(how.path)):
        if _missing(how):
            raise StoreOpenError(
                str(how.path),
                "there is no such file",
                "give the path of a database of power-loop",
                code="store.not_found",
            )
        connection = _connect(how, "ro")
        try:
            _check_ours(connection, how.path, migrations)
            if how.read_only and migrating.version(connection) < len(migrations):
                raise StoreSchemaError(
                    str(how.path),
                    f"its schema is version {migrating.version(connection)}, this release needs {len(migrations)}",
                    "open it once for writing, which upgrades it after a backup",
                    code="store.schema_older",
                )
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path with its links followed, for that is where SQLite keeps its log, and where owners must meet.

    Raises:
        StoreOpenError: it is no path of a file of its own.
    """
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if not text or text == ":memory:" or text.startswith("file:") or "\x00" in text:
        raise StoreOpenError(
            repr(path),
            "this names no file on disk",
            "give a plain path, such as agent.db; a session must outlive its process",
        )
    return Path(os.path.realpath(text))


def _read_only() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    return error


def _missing(how: Opening) -> bool:
    """Whether the file is still to be made.

    Raises:
        StoreOpenError: what is there is no file of ours, or nothing is there and should be.
    """
    path = str(how.path)
    try:
        found = os.stat(how.path)
    except FileNotFoundError:
        if how.create is False:
            raise StoreOpenError(
                path, "there is no such file", "check the path, or let it be created", code="store.not_found"
            ) from None
        if not how.path.parent.is_dir():
            raise StoreOpenError(
                path, f"its folder {how.path.parent} does not exist", "create the folder first"
            ) from None
        return nothing_left(how.path)
    if stat.S_ISDIR(found.st_mode):
        raise StoreOpenError(path, "this is a directory", "give the path of a file")
    if not stat.S_ISREG(found.st_mode):
        raise StoreOpenError(path, "this is not a regular file", "give the path of a file")
    if found.st_size == 0:
        if how.create is True and not how.read_only:
            return nothing_left(how.path)
        raise StoreOpenError(
            path,
            "the file is empty: a database that was here is gone",
            "restore it from a backup; or open it with create=True to begin a new one in its place",
            code="store.empty_file",
        )
    return False


def _create(how: Opening, migrations: Sequence[migrating.Migration]) -> None:
    how.world.reached("store.create")

    def fill(new: Path) -> None:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrating.upgrade(connection, new, migrations, how.world)
            # Closing would fold the log in as well, but keep silent if that failed, and the log does not come along.
            busy, logged, folded = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert (busy, logged) == (0, folded), "nobody else knows this file"
        how.world.reached("store.put_in_place")

    def place(new: Path) -> None:
        with contextlib.suppress(FileExistsError):  # who comes second uses the first's
            if how.create is True and how.path.exists() and how.path.stat().st_size == 0:
                os.replace(new, how.path)
            else:
                os.link(new, how.path)

    put_in_place(how.path, how.world.new_id(), fill, place)


def _looking(path: Path) -> Literal["ro", "rw"]:
    """The mode that leaves a file that is none of ours as it was, and nothing new beside it.

    A reading connection leaves behind the log files it needed; a writing one removes them, but would also fold in what
    a log that was there before holds.
    """
    return "ro" if any(beside(path, tail).exists() for tail in ("-wal", "-journal")) else "rw"


def nothing_left(path: Path) -> bool:
    """True: a new database may be made here.

    Raises:
        StoreOpenError: the log of one that is gone lies here, and SQLite would read it into the new one.
    """
    for tail in ("-wal", "-journal"):
        log = beside(path, tail)
        if log.exists() and log.stat().st_size > 0:
            raise StoreOpenError(
                str(path),
                f"the database is gone, but its log {log.name} is still here",
                f"put the database back beside it; or move {log.name} away to begin a new one",
                code="store.leftover",
            )
    return True


def _connect(how: Opening, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(how.path))}?mode={mode}",
        uri=True,
        timeout=how.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_ours(connection: sqlite3.Connection, path: Path, migrations: Sequence[migrating.Migration]) -> None:
    connection.execute("PRAGMA page_count")  # has SQLite look at the header of a file that is shorter than one, too
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != migrating.APPLICATION_ID:
        raise StoreOpenError(
            str(path),
            "this is another application's database",
            "give another path; the file was not touched",
            code="store.foreign",
        )
    migrating.check(connection, path, migrations)
