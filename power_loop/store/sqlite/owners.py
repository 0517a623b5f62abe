"""Who lives: a lock file an owner, beside the database, held for as long as its process does.

The kernel drops the lock at death, whatever killed the process, and keeps it while the process is merely stopped. The
lock is never on the database file: closing any descriptor of that would drop SQLite's own locks.

An owner's name is `host:pid:token:check`; the check tells a damaged name from a dead owner's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import weakref
import zlib
from pathlib import Path

from power_loop.errors import LoopClosedError, StoreDamagedError, StoreOpenError
from power_loop.store.parsing import WAY_OUT
from power_loop.store.sqlite.faults import is_full, of_system


class Owners:
    """This process as an owner, and the eye for the others. Safe to call from any thread."""

    def __init__(self, database: Path, token: str) -> None:
        self._database = database
        self.folder = database.with_name(database.name + ".owners")
        self._token = token
        self._pid = os.getpid()
        self._lock: int | None = None
        bare = f"{socket.gethostname()}:{self._pid}:{token}"
        self.name = f"{bare}:{_check(bare)}"

    def enlist(self) -> str:
        """Our name, once our lock is held: from here on others can see that we live.

        Raises:
            StoreOpenError: the folder for the locks cannot be made.
            LoopClosedError: this is a forked copy of the process that opened the store.
        """
        if os.getpid() != self._pid:
            raise LoopClosedError(
                f"{self._database} was opened in process {self._pid} and cannot be used in its fork; open it here again"
            )
        if self._lock is None:
            try:
                self._lock = self._take()
            except OSError as error:
                if is_full(error):
                    raise of_system(str(self._database), error) from error
                raise StoreOpenError(
                    str(self._database), f"no lock could be made in {self.folder} ({error})", "make the folder writable"
                ) from error
        return self.name

    def alive(self, name: str) -> bool:
        """Whether the process of that name lives.

        Raises:
            StoreDamagedError: it is no name of an owner.
            StoreOpenError: its lock may not be looked at.
        """
        bare, _, check = name.rpartition(":")
        if check != _check(bare):
            raise StoreDamagedError(str(self._database), "the owner of a session is not what was written", WAY_OUT)
        if name == self.name:
            return self._lock is not None
        try:
            lock = os.open(self.folder / bare.rpartition(":")[2], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreOpenError(
                str(self._database),
                f"nobody can tell whether {name} lives ({error})",
                f"let this user read the files in {self.folder}",
            ) from error
        try:
            return not _free(lock)
        finally:
            os.close(lock)

    def leave(self) -> None:
        """Give the lock up; nothing of ours may be running any more."""
        if self._lock is not None and os.getpid() == self._pid:
            lock, self._lock = self._lock, None
            (self.folder / self._token).unlink(missing_ok=True)
            os.close(lock)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _take(self) -> int:
        # Locked under a name nobody looks at, then renamed: at no instant is there a file of ours without its lock.
        new = self.folder / f".new-{self._token}"
        lock = None
        while lock is None:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            try:
                lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # another owner, leaving last, removed the folder in between
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                os.rename(new, self.folder / self._token)
            except FileNotFoundError:
                os.close(lock)  # another owner swept it away in the instant before it was locked
                lock = None
        os.register_at_fork(after_in_child=_Forked(weakref.ref(self)))
        self._sweep()
        return lock

    def _sweep(self) -> None:
        """Remove the files of the dead, those that died before their rename included."""
        for file in self.folder.iterdir():
            if file.name == self._token:
                continue
            with contextlib.suppress(OSError):
                lock = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if _free(lock):
                        file.unlink()
                finally:
                    os.close(lock)


class _Forked:
    """In a fork: close the inherited lock, lest the child keep its dead parent looking alive."""

    def __init__(self, owners: weakref.ref[Owners]) -> None:
        self._owners = owners

    def __call__(self) -> None:
        owners = self._owners()
        if owners is not None and owners._lock is not None:
            os.close(owners._lock)
            owners._lock = None


def _free(lock: int) -> bool:
    """Whether its owner is dead. Shared, so that those who look never take one another for an owner."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check(bare: str) -> str:
    return f"{zlib.crc32(bare.encode('utf-8', 'surrogateescape')):08x}"
