"""A database file is made whole under a hidden name, then put in its place at once: nobody ever sees half of it.

The hidden file is locked as long as somebody is at it; what a process that died left behind, the next removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from power_loop.errors import StoreOpenError
from power_loop.store.sqlite.migrating import sync_folder


def put_in_place(path: Path, token: str, fill: Callable[[Path], None], place: Callable[[Path], None]) -> None:
    """`fill` a new file of a hidden name beside `path`, then `place` it; what `place` did is durable afterwards.

    If the process dies here, `path` is as it was, or as `place` leaves it.
    """
    new = path.with_name(f".{path.name}.new-{token}")
    held: int | None = None
    try:
        with alone_in(path.parent):
            held = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)  # says that somebody alive is at it
        fill(new)
        with alone_in(path.parent):
            # Before the file is anybody's database: closing a descriptor of one would drop SQLite's locks on it.
            os.close(held)
            held = None
            place(new)
            _sweep(path)
        sync_folder(path.parent)
    finally:
        remove(new)
        if held is not None:
            os.close(held)


def remove(database: Path) -> None:
    for tail in ("", "-wal", "-shm", "-journal"):
        beside(database, tail).unlink(missing_ok=True)


def beside(path: Path, tail: str) -> Path:
    return path.with_name(path.name + tail)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within, nobody else puts a database of ours in place of another file of this folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove the unfinished databases of processes that died while they made one for this path."""
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.new-*"):
        if unfinished.name.endswith(("-wal", "-shm", "-journal")):
            continue
        with contextlib.suppress(OSError):
            if unfinished.stat().st_nlink > 1:
                remove(unfinished)  # in place already under its real name, and for that very reason not to be opened
                continue
            descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(unfinished)
            finally:
                os.close(descriptor)


def identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Which file stands there. SQLite would go on writing to one that was deleted, and all of it would be lost."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def gone(path: str) -> StoreOpenError:
    return StoreOpenError(
        path,
        "the file was moved, deleted or replaced while it was open",
        "nothing was written; put it back, or close this store and open it again",
        code="store.gone",
    )
