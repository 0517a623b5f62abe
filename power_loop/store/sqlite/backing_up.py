"""Backup of a live database, and a backup put in the place of one. Both block: call them off the event loop.

A backup goes through SQLite's backup API inside one read, so that it is one moment of the database: another process's
commits neither come into it nor start it anew, and it keeps no writer waiting (only the log from being folded in, for
as long as the copy takes). It is a plain file without a log, examined before anybody can see it under its name.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from power_loop.errors import StoreDamagedError, StoreOpenError
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.alone import alone_with, forget_dead, living
from power_loop.store.sqlite.doctor import Grade, examine
from power_loop.store.sqlite.faults import translated
from power_loop.store.sqlite.opening import Opening, checked_path, nothing_left, open_reader
from power_loop.store.sqlite.placing import beside, put_in_place
from power_loop.values import World

STEP: Final = 4096
"""Pages copied at a time; in between, a Ctrl-C is heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A database that was copied, or, of a dry run, would be."""

    source: str
    target: str
    bytes: int
    sessions: int
    messages: int
    kept: str | None = None
    """Where the database is that stood at `target` before."""


def backup(
    path: str | os.PathLike[str], target: str | os.PathLike[str], *, force: bool = False, world: World | None = None
) -> Copied:
    """Copy one moment of a database, which others may be writing, to a new file that only its owner may read.

    If the process dies here, there is no file at `target`, or (with `force`) the one that was; or the whole backup.

    Raises:
        StoreOpenError: the database is none; or there is something at `target` and not `force` (`store.exists`).
        StoreDamagedError: the copy does not pass the doctor; nothing was put in place.
        StoreError: as SQLite or the disk say.
    """
    source, new_home, world = checked_path(path), checked_path(target), world or World()
    with translated(str(new_home)):
        _check_target(source, new_home, force)
        found: list[Copied] = []

        def place(new: Path) -> None:
            world.reached("backup.place")
            if force:
                os.replace(new, new_home)
            else:
                _put(new, new_home)

        put_in_place(new_home, world.new_id(), lambda new: found.append(_copied(source, new, source, world)), place)
        world.reached("backup.placed")
        return replace(found[0], target=str(new_home))


def restore(
    backup: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    dry_run: bool = False,
    world: World | None = None,
) -> Copied:
    """Put a copy of a backup at `path`, where no process has a database open.

    With `force` it replaces the database there, which stays as `PATH.before-restore` with all its log held. Turns that
    were live in the backup have an owner that is dead: `resume` and `abort` take them up. If the process dies here,
    `path` is the old database or the new one.

    Raises:
        StoreOpenError: the backup is no database; or there is one at `path` and not `force` (`store.exists`).
        StoreDamagedError: the backup does not pass the doctor; nothing was changed.
        StoreBusyError: somebody alive has the database at `path` open; nothing was changed.
    """
    source, home, world = checked_path(backup), checked_path(path), world or World()
    with translated(str(home)):
        _check_home(source, home, force)
        if dry_run:
            with closing(open_reader(_reading(source, world))) as connection:
                counted = _counted(connection, source, home)
            _check_sound(source, source)
            return replace(counted, kept=str(_kept(home)) if home.exists() else None)
        found: list[Copied] = []
        kept: list[Path] = []

        def place(new: Path) -> None:
            if not home.exists():
                _set_aside(home)
                _put(new, home)
                return
            with alone_with(home):
                kept.append(_keep(home))
                world.reached("restore.kept")
                os.replace(new, home)
            world.reached("restore.placed")

        put_in_place(home, world.new_id(), lambda new: found.append(_copied(source, new, source, world)), place)
        forget_dead(home)
        world.reached("restore.done")
        return replace(found[0], target=str(home), kept=str(kept[0]) if kept else None)


def _copied(source: Path, new: Path, name: Path, world: World) -> Copied:
    """Copy, make it durable, and examine it."""
    with (
        closing(open_reader(_reading(source, world))) as connection,
        closing(sqlite3.connect(new, isolation_level=None)) as copy,
    ):
        _copy(connection, copy, world)
    descriptor = os.open(new, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    world.reached("backup.copied")
    with closing(sqlite3.connect(new, isolation_level=None)) as copy:
        counted = _counted(copy, source, new)
    _check_sound(new, name)
    world.reached("backup.checked")
    return counted


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, world: World) -> None:
    progress: Callable[[int, int, int], object] = lambda *_: world.reached("backup.step")  # noqa: E731
    source.execute("BEGIN")
    try:
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the read, and so the moment, begins here
        source.backup(copy, pages=STEP, progress=progress)
    finally:
        source.execute("ROLLBACK")
    copy.execute("PRAGMA journal_mode = DELETE")


def _counted(connection: sqlite3.Connection, source: Path, target: Path) -> Copied:
    def only(sql: str) -> int:
        return int(connection.execute(sql).fetchone()[0])

    return Copied(
        source=str(source),
        target=str(target),
        bytes=only("PRAGMA page_count") * only("PRAGMA page_size"),
        sessions=only("SELECT count(*) FROM sessions"),
        messages=only("SELECT count(*) FROM messages"),
    )


def _check_sound(path: Path, name: Path) -> None:
    bad = [finding for finding in examine(path) if finding.grade is Grade.BAD]
    if bad:
        said = "; ".join(f"{finding.name}: {finding.words}" for finding in bad[:3])
        raise StoreDamagedError(
            str(name),
            f"it does not pass the doctor ({said})",
            "nothing was put in place; run `power-loop doctor`",
        )


def _check_target(source: Path, target: Path, force: bool) -> None:
    """Raises `StoreOpenError` if no backup may be put there."""
    _check_two(source, target)
    if not target.exists():
        nothing_left(target)
    elif not force:
        raise _exists(target, "give another path, or force=True (--force) to replace it")
    elif any(beside(target, tail).exists() for tail in ("-wal", "-shm", "-journal", ".owners")):
        raise _exists(target, "it is a database in use, or was: give another path; restore() replaces a database")


def _check_home(source: Path, home: Path, force: bool) -> None:
    """Raises `StoreOpenError`, or `StoreBusyError` if somebody alive has it open."""
    _check_two(source, home)
    living(home)
    if not force:
        if home.exists():
            raise _exists(home, "force=True (--force) replaces it, and keeps it as FILE.before-restore")
        nothing_left(home)


def _check_two(source: Path, target: Path) -> None:
    if not target.parent.is_dir():
        raise StoreOpenError(str(target), f"its folder {target.parent} does not exist", "create the folder first")
    if target.exists():
        if not stat.S_ISREG(target.stat().st_mode):
            raise StoreOpenError(str(target), "this is no regular file", "give the path of a file")
        if source.exists() and os.path.samefile(source, target):
            raise StoreOpenError(str(target), "this is the very same file", "give two paths")


def _exists(path: Path, way_out: str) -> StoreOpenError:
    return StoreOpenError(str(path), "there is a file already", way_out, code="store.exists")


def _put(new: Path, path: Path) -> None:
    """Give it its name, unless another has it."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise _exists(path, "somebody made it just now; look at it first") from None
    except PermissionError:
        # A file system without links; who makes databases holds the lock on the folder, as we do.
        if path.exists():
            raise _exists(path, "somebody made it just now; look at it first") from None
        os.rename(new, path)


def _kept(home: Path) -> Path:
    """A name that is free: what an earlier restore kept stays too."""
    name, number = beside(home, ".before-restore"), 1
    while name.exists():
        number += 1
        name = beside(home, f".before-restore.{number}")
    return name


def _keep(home: Path) -> Path:
    """A second name for the database, of which all is in the one file; and for a log that nobody could read."""
    kept = _kept(home)
    os.link(home, kept)
    _set_aside(home, kept)
    migrating.sync_folder(home.parent)
    return kept


def _set_aside(home: Path, kept: Path | None = None) -> None:
    """A log of what is gone or cannot be read: SQLite would fold it into the new file."""
    for tail in ("-wal", "-journal"):
        log = beside(home, tail)
        if log.exists() and log.stat().st_size:
            os.rename(log, beside(kept or _kept(home), f".log{tail}"))
        log.unlink(missing_ok=True)
    beside(home, "-shm").unlink(missing_ok=True)


def _reading(path: Path, world: World) -> Opening:
    return Opening(path=path, create=False, migrations=migrating.folder("sqlite"), world=world)
