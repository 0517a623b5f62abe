"""What sqlite3 raises, as errors of ours that name the path and the way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from power_loop.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreReadOnlyError,
)

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def typed(path: str, error: sqlite3.Error) -> StoreError:
    """The typed error for one of sqlite3; the caller raises it `from` the original."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _BUSY:
        return StoreBusyError(
            path,
            "another program holds the write lock",
            "nothing was written; try again, or find who holds it (an open transaction in a sqlite3 shell, a backup)",
        )
    if primary == sqlite3.SQLITE_FULL:
        return StoreFullError(path, "the disk is full", "nothing was written; free space and try again")
    if primary == sqlite3.SQLITE_READONLY:
        return StoreReadOnlyError(
            path, "the file cannot be written", "nothing was written; check its permissions and those of its folder"
        )
    if primary == sqlite3.SQLITE_NOTADB:
        return StoreOpenError(path, "this is not an SQLite database", "give another path; the file was not touched")
    if primary == sqlite3.SQLITE_CORRUPT:
        return StoreDamagedError(
            path, f"the database file is damaged ({error})", "restore a backup, or salvage with `sqlite3 FILE .recover`"
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return StoreOpenError(
            path, "it cannot be opened", "check that its folder exists and that you may read and write both"
        )
    if primary in (sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreOpenError(path, "permission denied", "check the permissions of the file and its folder")
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(
            path, f"the disk failed ({error})", "nothing was acknowledged; check the disk, then reopen", code="store.io"
        )
    return StoreError(path, f"the database refused ({error})", "the state is as before; this is a fault, report it")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Within, sqlite3's errors leave as ours, with the original as the cause."""
    try:
        yield
    except sqlite3.Error as error:
        raise typed(path, error) from error
    except UnicodeEncodeError as error:
        raise StoreError(
            path, f"a text cannot be stored: {error}", "it holds a lone surrogate", code="input.invalid"
        ) from error
