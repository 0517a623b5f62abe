"""Being the only process that has a database open, for as long as its file is replaced."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from power_loop.errors import StoreBusyError, StoreDamagedError, StoreOpenError
from power_loop.store.sqlite.faults import of_sqlite
from power_loop.store.sqlite.placing import beside

PATIENCE: Final = 2.0
"""Seconds to wait for somebody who just looks in."""

_LOCKS: Final = (512, 0x40000000)
"""Length and start of the bytes that SQLite locks in a database file."""


def living(path: Path) -> None:
    """Raises `StoreBusyError` if an owner of the database lives: a process that drove a session, and has it open."""
    if not all(_dead(file) for file in _locks(path)):
        raise _busy(path)


def forget_dead(path: Path) -> None:
    """Remove the locks of owners that are dead; those of the living stay."""
    for file in _locks(path):
        if _dead(file):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        beside(path, ".owners").rmdir()


def _locks(path: Path) -> list[Path]:
    folder = beside(path, ".owners")
    return list(folder.iterdir()) if folder.is_dir() else []


def _dead(file: Path) -> bool:
    try:
        lock = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Within, no other connection, of whatever program, can read or write the database; all of it is in the one file.

    A file that SQLite cannot open is locked by hand, and its log left as it is.

    Raises:
        StoreBusyError: somebody has it open. Nothing was changed.
    """
    living(path)
    if path.stat().st_size == 0:
        with _by_hand(path):
            yield
        return
    uri = f"file:{quote(os.fsencode(path))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
        try:
            # Leaving the log needs that nobody else has the file open, were it only to look.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "delete":
                raise _busy(path)
        except sqlite3.DatabaseError as error:
            ours = of_sqlite(str(path), error)
            if isinstance(ours, StoreBusyError):
                raise _busy(path) from error
            if not isinstance(ours, StoreDamagedError | StoreOpenError):
                raise ours from error
        else:
            yield
            return
    with _by_hand(path):
        yield


@contextmanager
def _by_hand(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, *_LOCKS)
        except (BlockingIOError, PermissionError) as error:
            raise _busy(path) from error
        yield
    finally:
        os.close(descriptor)


def _busy(path: Path) -> StoreBusyError:
    return StoreBusyError(
        str(path),
        "a process that lives (running, stopped, or a sqlite3 shell) has it open",
        "nothing was changed; end that process first",
    )
