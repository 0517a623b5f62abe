"""The checks of one file, in the order to read them: one function a check."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from power_loop.errors import StoreDamagedError, StoreError
from power_loop.store import records
from power_loop.store.port import Port, Row
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.doctor.files import on_disk, permissions, sqlite_version
from power_loop.store.sqlite.doctor.findings import RESTORE, Finding, Grade, Spot
from power_loop.store.sqlite.doctor.invariants import consistency
from power_loop.store.sqlite.doctor.scan import checksums, each_read
from power_loop.store.sqlite.faults import translated
from power_loop.store.sqlite.opening import Opening, checked_path, open_reader
from power_loop.store.sqlite.owners import Owners
from power_loop.store.transactions.begin import Drives
from power_loop.values import World

SALVAGE: Final = (
    "restore a backup; where checksums and consistency are ok, `sqlite3 FILE REINDEX` may mend it; "
    "else salvage what can be read with `sqlite3 FILE .recover` (of a shell from sqlite.org; some systems' lacks it)"
)


def examine(path: str | os.PathLike[str]) -> list[Finding]:
    """Every check of one file. Blocks; beside a live writer it sees each moment whole.

    Raises:
        StoreOpenError: the path is none of a file at all (empty, `:memory:`).
    """
    how = _how(path)
    around = [sqlite_version(sqlite3.sqlite_version_info), *on_disk(how.path)]
    try:
        connection = open_reader(how)
    except StoreError as error:
        return [_unopened(error), *around, *permissions(how.path)]
    with closing(connection):
        db = SqlitePort(connection, str(how.path), how.world.reached)
        drives = _drives(how)
        checks: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
            ("journal", lambda: [journal(db), synchronous(how)]),
            ("schema", lambda: [schema(db, how)]),
            ("integrity", lambda: [integrity(db)]),
            ("foreign_keys", lambda: [foreign_keys(db)]),
            ("checksums", lambda: [checksums(db)]),
            ("consistency", lambda: consistency(db)),
            ("owners", lambda: [owners(db, how)]),
            ("attention", lambda: [attention(db, drives)]),
        )
        opened = Finding(name="opens", words=f"{how.path} is a database of power-loop and can be read")
        return [
            opened,
            *around,
            *permissions(how.path),
            *(found for name, check in checks for found in _asked(connection, name, check, db.path)),
        ]


def each_session(path: str | os.PathLike[str]) -> list[records.SessionInfo | StoreDamagedError]:
    """Every session, the one changed last first; for one that cannot be believed, what is wrong with it.

    Raises:
        StoreError: the file cannot be read.
    """
    how = _how(path)
    with closing(open_reader(how)) as connection, translated(str(how.path)), _one_moment(connection):
        return list(each_read(SqlitePort(connection, str(how.path), how.world.reached), _drives(how)))


def journal(db: Port) -> Finding:
    mode = str(_only(db, "doctor_journal_mode")["journal_mode"])
    if mode != "wal":
        return Finding(
            name="journal",
            grade=Grade.WARN,
            words=f"the journal mode is {mode}, as in a backup, not wal: readers and the writer keep each other out",
            way_out="whoever opens it for writing next sets it back; of a database in use, find out who changed it",
        )
    return Finding(name="journal", words="the journal mode is wal")


def synchronous(how: Opening) -> Finding:
    """No file holds it: every connection has its own."""
    if how.synchronous != "FULL":
        return Finding(
            name="synchronous",
            grade=Grade.WARN,
            words=f"connections of ours use {how.synchronous}: a power cut may lose commits that were acknowledged",
            way_out="open the store with synchronous=FULL, the default",
        )
    return Finding(
        name="synchronous",
        words="FULL, the default: a commit is flushed before it is acknowledged, but by a process that chose NORMAL",
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
    try:
        with translated(db.path):
            problems = [Spot(what=str(row["integrity_check"])) for row in db.all("doctor_integrity")]
    except StoreError:
        problems = [spot for row in db.all("doctor_tables") for spot in _damage_of(db, row["name"])]
    if [spot.what for spot in problems] == ["ok"]:
        return Finding(name="integrity", words="PRAGMA integrity_check: ok")
    return Finding(
        name="integrity",
        grade=Grade.BAD,
        words=f"PRAGMA integrity_check finds {len(problems)} or more problems",
        way_out=SALVAGE,
        spots=tuple(problems),
    )


def _damage_of(db: Port, table: str) -> Sequence[Spot]:
    try:
        with translated(db.path):
            found = [str(row["integrity_check"]) for row in db.all("doctor_integrity_of", table=table)]
    except StoreError as error:
        found = [error.problem]
    return [Spot(table=table, what=f"table {table} or an index of it: {what}") for what in found if what != "ok"]


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


def _asked(
    connection: sqlite3.Connection, name: str, check: Callable[[], Iterable[Finding]], path: str
) -> list[Finding]:
    try:
        with translated(path), _one_moment(connection):
            return list(check())
    except StoreError as error:
        words = f"could not be examined: {error.problem}"
        return [Finding(name=name, grade=Grade.BAD, words=words, way_out=error.way_out, code=error.code)]


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Within, what others commit does not come between two questions."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _unopened(error: StoreError) -> Finding:
    grade = Grade.WARN if error.code == "store.schema_older" else Grade.BAD
    words = f"[{error.code}] {error.problem}"
    return Finding(name="opens", grade=grade, words=words, way_out=error.way_out, code=error.code)


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


def _only(db: Port, name: str) -> Row:
    row = db.one(name)
    assert row is not None
    return row
