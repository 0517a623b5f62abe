"""What sqlite3 and the operating system raise, as errors of ours that name the path and the way out."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from power_loop.errors import (
    InputInvalidError,
    PowerLoopError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreReadOnlyError,
)

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_SALVAGE: Final = "restore a backup, or salvage with `sqlite3 FILE .recover`"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def typed(path: str, error: Exception) -> Exception:
    """The typed error for one that a statement raised; itself if it is ours, or a fault of the code."""
    if isinstance(error, sqlite3.Error):
        return of_sqlite(path, error)
    if isinstance(error, UnicodeEncodeError):
        return InputInvalidError(
            "a text",
            f"holds a lone surrogate at character {error.start}",
            'it is not valid Unicode; clean it with text.encode("utf-8", "replace").decode()',
        )
    if isinstance(error, UnicodeDecodeError):
        return StoreDamagedError(path, "the database file is damaged (a text is no UTF-8)", _SALVAGE)
    if (
        isinstance(error, IndexError) and str(error) == "No item with that key"
    ):  # `sqlite3.Row`: a column has no such name
        return StoreDamagedError(path, "its schema is not what the migrations made", _SALVAGE)
    if isinstance(error, OverflowError):
        return InputInvalidError("a number", "does not fit into 64 bits", "nothing was written; give a smaller one")
    return error


def of_sqlite(path: str, error: sqlite3.Error) -> StoreError:
    """The caller raises it `from` the original."""
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
    if primary == sqlite3.SQLITE_ERROR and str(error).startswith("no such "):
        return StoreDamagedError(path, f"its schema is not what the migrations made ({error})", _SALVAGE)
    if primary == sqlite3.SQLITE_CORRUPT:
        return StoreDamagedError(path, f"the database file is damaged ({error})", _SALVAGE)
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


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def of_system(path: str, error: OSError) -> StoreError:
    """The caller raises it `from` the original."""
    if is_full(error):
        return StoreFullError(path, "the disk is full", "nothing was written; free space and try again")
    if isinstance(error, PermissionError):
        return StoreOpenError(
            path, f"permission denied ({error.strerror})", "check the permissions of the file and its folder"
        )
    return StoreOpenError(path, f"it cannot be opened ({error.strerror})", "check the path")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Within, what sqlite3 and the operating system raise leaves as ours, with the original as the cause."""
    try:
        yield
    except PowerLoopError:
        raise
    except OSError as error:
        raise of_system(path, error) from error
    except Exception as error:
        ours = typed(path, error)
        if ours is error:
            raise
        raise ours from error
