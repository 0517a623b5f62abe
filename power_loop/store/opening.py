"""Opening a store by its address."""

from __future__ import annotations

import os
from pathlib import Path

from power_loop.errors import ConfigError, StoreOpenError
from power_loop.store.contract import SessionStore
from power_loop.store.sqlite import migrating
from power_loop.store.sqlite.opening import Opening, Synchronous, checked_path
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import World


async def open_store(
    where: str | os.PathLike[str],
    *,
    create: bool | None = None,
    read_only: bool = False,
    synchronous: Synchronous = "FULL",
    busy_timeout: float = 10.0,
    migrations: Path | None = None,
    world: World | None = None,
) -> SessionStore:
    """Open the store at a path, making, checking or upgrading the file first.

    `create`: None makes the file where there is none; True also begins anew in a file of 0 bytes; False wants a
    database that is there. `synchronous="NORMAL"` trades the promise about power cuts for speed: what was acknowledged
    in the last moments may be gone, nothing is torn. `busy_timeout` is how many seconds a commit waits for another
    program's lock.

    Raises:
        StoreError: of the kind that fits, naming the path and the way out; nothing was written or replaced.
    """
    if isinstance(where, str) and where.startswith(("postgres:", "postgresql:")):
        raise StoreOpenError("postgresql", "this release has no PostgreSQL store", "give the path of an SQLite file")
    if synchronous not in ("FULL", "NORMAL"):
        raise ConfigError([f"synchronous is {synchronous!r}: say FULL or NORMAL"])
    if not busy_timeout >= 0:
        raise ConfigError([f"busy_timeout is {busy_timeout!r}: give seconds, 0 or more"])
    return await SqliteStore.open(
        Opening(
            path=checked_path(where),
            create=create,
            read_only=read_only,
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            migrations=migrations or migrating.folder("sqlite"),
            world=world or World(),
        )
    )
