"""What the system says of a database file: its SQLite, where it lies, who may read it, what its log holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from power_loop.store.sqlite.doctor import log, mounts
from power_loop.store.sqlite.doctor.findings import Finding, Grade

LARGE_WAL: Final = 64 * 1024 * 1024
"""Bytes of write-ahead log above which something keeps it from being folded into the file; 4 MB is usual."""


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
    """Where it lies and what its log holds. Call it before anybody opens it: whoever reads leaves an empty log."""
    yield filesystem(path, _table())
    log_of_it = path.with_name(path.name + "-wal")
    if _stat(path) is not None:
        yield wal(log_of_it)
    elif _stat(log_of_it) is not None:
        yield Finding(
            name="wal",
            grade=Grade.BAD,
            words=f"the database is gone, and its log {log_of_it.name} is still here",
            way_out="put the database back beside it; or `power-loop restore --force`, which keeps the log",
        )


def permissions(path: Path) -> Iterator[Finding]:
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


def filesystem(path: Path, table: str | None) -> Finding:
    """By the text of the kernel's table of mounts; None: there is none on this system."""
    mount = None if table is None else mounts.mount_of(path, table)
    if mount is None:
        return Finding(name="filesystem", words="unknown: this system has no table of mounts that names it")
    where = f"{mount.kind}, mounted at {mount.point} from {mount.source}"
    if mount.remote or mount.shared:
        kind = "a network file system" if mount.remote else "a folder of another system"
        return Finding(
            name="filesystem",
            grade=Grade.WARN,
            words=f"it lies on {kind} ({where}): its locks do not keep two writers apart, and the file will be damaged",
            way_out="stop every process that uses it, `power-loop backup` it to a local disk, and use it there",
        )
    return Finding(name="filesystem", words=where)


def wal(path: Path) -> Finding:
    try:
        size = path.stat().st_size
        found = log.settled(path) if size <= LARGE_WAL else log.Log(sound=True)
    except FileNotFoundError:
        return Finding(name="wal", words="there is no write-ahead log: all there is is in the file")
    except OSError as error:
        return Finding(
            name="wal",
            grade=Grade.BAD,
            words=f"the write-ahead log cannot be read ({error.strerror})",
            way_out=f"let this user read {path}",
        )
    if not found.sound:
        return Finding(
            name="wal",
            grade=Grade.BAD,
            words=f"{path.name} is no write-ahead log: what was committed last, and only stood there, is lost",
            way_out="keep a copy of it; restore a backup, or go on from what the file itself holds",
        )
    if found.lost:
        return Finding(
            name="wal",
            grade=Grade.WARN if found.lost == 1 else Grade.BAD,
            words=f"the write-ahead log has a damaged frame: from there on {found.lost} commit(s) will not be read "
            "(a power cut may leave one, which was never acknowledged)",
            way_out="keep a copy of it; restore a backup, or go on without those commits",
        )
    if size > LARGE_WAL:
        return Finding(
            name="wal",
            grade=Grade.WARN,
            words=f"the write-ahead log holds {size:,} bytes: a reader keeps it from being folded into the file",
            way_out="find who holds a read open for long (a sqlite3 shell, a backup), and end it",
        )
    return Finding(name="wal", words=f"the write-ahead log holds {size:,} bytes")


def _table() -> str | None:
    try:
        return mounts.TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
