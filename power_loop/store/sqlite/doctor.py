"""What is wrong with a database file, found by reading alone: one function a check, one finding each.

Nothing is written, and nothing here needs the file to be whole: what cannot be read is a finding, not a crash.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from power_loop.errors import StoreDamagedError, StoreError
from power_loop.store import records
from power_loop.store.port import Port, Row
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.faults import translated
from power_loop.store.sqlite.findings import RESTORE, Finding, Grade, Spot
from power_loop.store.sqlite.opening import Opening, checked_path, open_reader
from power_loop.store.sqlite.owners import Owners
from power_loop.store.sqlite.scan import checksums, consistency, each_read
from power_loop.store.transactions.begin import Drives
from power_loop.values import World

LARGE_WAL: Final = 64 * 1024 * 1024
"""Bytes of write-ahead log above which something keeps it from being folded into the file; 4 MB is usual."""

SALVAGE: Final = "restore a backup, or salvage what can be read with `sqlite3 FILE .recover`"


def examine(path: str | os.PathLike[str]) -> list[Finding]:
    """Every check of one file, in the order to read them. Blocks; beside a live writer it sees each moment whole.

    Raises:
        StoreOpenError: the path is none of a file at all (empty, `:memory:`).
    """
    how = _how(path)
    findings = [sqlite_version(sqlite3.sqlite_version_info)]
    try:
        connection = open_reader(how)
    except StoreError as error:
        return [*findings, _unopened(error), *on_disk(how.path)]
    with closing(connection):
        db = SqlitePort(connection, str(how.path), how.world.reached)
        drives = _drives(how)
        checks: Sequence[tuple[str, Callable[[], Finding]]] = (
            ("journal", lambda: journal(db, how)),
            ("schema", lambda: schema(db, how)),
            ("integrity", lambda: integrity(db)),
            ("foreign_keys", lambda: foreign_keys(db)),
            ("checksums", lambda: checksums(db)),
            ("consistency", lambda: consistency(db)),
            ("owners", lambda: owners(db, how)),
            ("attention", lambda: attention(db, drives)),
        )
        opened = Finding(name="opens", words=f"{how.path} is a database of power-loop and can be read")
        return [*findings, opened, *on_disk(how.path), *(_asked(name, check, db.path) for name, check in checks)]


def each_session(path: str | os.PathLike[str]) -> list[records.SessionInfo | StoreDamagedError]:
    """Every session, the one changed last first; for one that cannot be believed, what is wrong with it.

    Raises:
        StoreError: the file cannot be read.
    """
    how = _how(path)
    with closing(open_reader(how)) as connection, translated(str(how.path)):
        return list(each_read(SqlitePort(connection, str(how.path), how.world.reached), _drives(how)))


def sqlite_version(version: tuple[int, ...]) -> Finding:
    """Whether this SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, but for the two branches the fix was carried to."""
    text = ".".join(map(str, version))
    affected = (3, 7, 0) <= version <= (3, 51, 2)
    repaired = (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0)
    if affected and not repaired:
        return Finding(
            name="sqlite",
            grade=Grade.WARN,
            words=f"SQLite {text} has the WAL-reset bug: very rarely, a checkpoint that meets another process's write "
            "damages the file",
            way_out="use a Python with SQLite 3.51.3 or later; until then keep to one process that writes",
        )
    return Finding(name="sqlite", words=f"SQLite {text}")


def on_disk(path: Path) -> Iterator[Finding]:
    """What the file system says: who may read it, and how long the write-ahead log is."""
    files = [path, *(path.with_name(path.name + tail) for tail in ("-wal", "-shm", ".owners"))]
    there = [(file, found) for file in files if (found := _stat(file)) is not None]
    if not there or not stat.S_ISREG(there[0][1].st_mode):
        return
    loose = [(file, found.st_mode & 0o777) for file, found in there if found.st_mode & 0o077]
    if loose:
        yield Finding(
            name="permissions",
            grade=Grade.WARN,
            words="others than the owner may read the conversations: "
            + ", ".join(f"{file.name} {mode:04o}" for file, mode in loose),
            way_out=f"chmod go= {' '.join(str(file) for file, _ in loose)}",
        )
    else:
        yield Finding(name="permissions", words="only the owner may read it (0600)")
    wal = next((found.st_size for file, found in there if file.name.endswith("-wal")), 0)
    if wal > LARGE_WAL:
        yield Finding(
            name="wal",
            grade=Grade.WARN,
            words=f"the write-ahead log holds {wal:,} bytes: a reader keeps it from being folded into the file",
            way_out="find who holds a read open for long (a sqlite3 shell, a backup), and end it",
        )
    else:
        yield Finding(name="wal", words=f"the write-ahead log holds {wal:,} bytes")


def journal(db: Port, how: Opening) -> Finding:
    mode = str(_only(db, "doctor_journal_mode")["journal_mode"])
    if mode != "wal":
        return Finding(
            name="journal",
            grade=Grade.WARN,
            words=f"the journal mode is {mode}, not wal: readers and the writer keep each other out",
            way_out="open it once for writing, which sets it back; find out who changed it",
        )
    return Finding(
        name="journal", words=f"journal mode wal; commits are {how.synchronous} unless a loop's configuration says else"
    )


def schema(db: Port, how: Opening) -> Finding:
    """Whether tables, indexes and views are still those of the migrations."""
    migrations = migrating.load(how.migrations)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        for migration in migrations:
            for statement in migrating.statements(migration.sql):
                model.execute(statement)
        wanted = _objects(SqlitePort(model, ":memory:", how.world.reached))
    found = _objects(db)
    spots = [Spot(what=f"{kind} {name} is missing") for kind, name in wanted if (kind, name) not in found]
    spots += [Spot(what=f"{kind} {name} is not of ours") for kind, name in found if (kind, name) not in wanted]
    spots += [
        Spot(what=f"{kind} {name} was changed")
        for (kind, name), sql in wanted.items()
        if found.get((kind, name), sql) != sql
    ]
    if spots:
        return Finding(
            name="schema",
            grade=Grade.BAD,
            words=f"version {len(migrations)}, but not as its migrations made it",
            way_out="undo what was done by hand, or restore a backup",
            spots=tuple(spots),
        )
    return Finding(name="schema", words=f"version {len(migrations)}, the newest this release knows")


def integrity(db: Port) -> Finding:
    problems = [str(row["integrity_check"]) for row in db.all("doctor_integrity")]
    if problems == ["ok"]:
        return Finding(name="integrity", words="PRAGMA integrity_check: ok")
    return Finding(
        name="integrity",
        grade=Grade.BAD,
        words=f"PRAGMA integrity_check finds {len(problems)} or more problems",
        way_out=SALVAGE,
        spots=tuple(Spot(what=problem) for problem in problems),
    )


def foreign_keys(db: Port) -> Finding:
    lost = db.all("doctor_foreign_keys")
    if not lost:
        return Finding(name="foreign_keys", words="PRAGMA foreign_key_check: ok")
    return Finding(
        name="foreign_keys",
        grade=Grade.BAD,
        words=f"{len(lost)} rows belong to rows that are gone",
        way_out=RESTORE,
        spots=tuple(Spot(table=row["table"], what=f"a row whose {row['parent']} row is gone") for row in lost[:100]),
    )


def owners(db: Port, how: Opening) -> Finding:
    known = Owners(how.path, how.world.new_id())
    alive: list[Spot] = []
    dead: list[Spot] = []
    for row in db.all("owned_sessions"):
        spot = Spot(session=row["id"], what=f"driven by {row['owner']}")
        (alive if known.alive(row["owner"]) else dead).append(spot)
    if dead:
        return Finding(
            name="owners",
            grade=Grade.WARN,
            words=f"{len(alive)} session(s) are being driven, the owners of {len(dead)} are dead",
            way_out="`power-loop resume` or `power-loop abort` each; or recover() in the app",
            spots=tuple(dead),
        )
    return Finding(
        name="owners", words=f"{len(alive)} session(s) are being driven, no owner is dead", spots=tuple(alive)
    )


def attention(db: Port, drives: Drives) -> Finding:
    waiting = [info for info in each_read(db, drives) if isinstance(info, records.SessionInfo) and info.needs_attention]
    if not waiting:
        return Finding(name="attention", words="no session waits for anybody")
    return Finding(
        name="attention",
        grade=Grade.WARN,
        words=f"{len(waiting)} session(s) need attention",
        way_out="`power-loop pending SESSION` shows what is open and the ways out",
        spots=tuple(
            Spot(session=info.session_id, what=f"{info.state}, {len(info.pending)} open call(s)") for info in waiting
        ),
    )


def _asked(name: str, check: Callable[[], Finding], path: str) -> Finding:
    try:
        with translated(path):
            return check()
    except StoreError as error:
        return Finding(
            name=name, grade=Grade.BAD, words=f"could not be examined: {error.problem}", way_out=error.way_out
        )


def _unopened(error: StoreError) -> Finding:
    grade = Grade.WARN if error.code == "store.schema_older" else Grade.BAD
    return Finding(name="opens", grade=grade, words=f"[{error.code}] {error.problem}", way_out=error.way_out)


def _objects(db: Port) -> dict[tuple[str, str], Any]:
    return {(row["type"], row["name"]): row["sql"] for row in db.all("doctor_schema")}


def _how(path: str | os.PathLike[str]) -> Opening:
    return Opening(
        path=checked_path(path),
        create=False,
        read_only=True,
        migrations=migrating.folder("sqlite"),
        world=World(),
    )


def _drives(how: Opening) -> Drives:
    known = Owners(how.path, how.world.new_id())
    return lambda _, owner: owner is not None and known.alive(owner)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def _only(db: Port, name: str) -> Row:
    row = db.one(name)
    assert row is not None
    return row
