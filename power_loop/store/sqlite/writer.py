"""The one place that commits. Whatever waits is committed together, and each caller hears of it once it is on disk.

A change is a plain function over a `Port`. A batch is one transaction, a savepoint a change: one that raises is undone
alone. Nobody's cancellation reaches the connection; what was handed in is carried out. No task runs in here: an event
loop that shuts down cancels all tasks, and whoever waits for a commit must hear of it even then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from power_loop.errors import LoopClosedError
from power_loop.shielding import uncancelled
from power_loop.store.port import Port
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.faults import typed
from power_loop.store.sqlite.placing import gone, identity
from power_loop.store.sqlite.threads import SqliteThread

T = TypeVar("T")
Change = Callable[[Port], T]


@dataclass(frozen=True, slots=True)
class _Waiting:
    change: Change[Any]
    done: asyncio.Future[Any]


class Writer:
    """Group commit on aiosqlite's thread. Bound to the event loop it was made in."""

    def __init__(self, thread: SqliteThread, port: SqlitePort) -> None:
        self._thread = thread
        self._file = identity(port.path)
        self._connection = thread.raw
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._idle: asyncio.Future[None] | None = None
        """Done once nothing waits; None while nothing does."""
        self._closed = False
        self.commits = 0
        """Transactions committed so far."""
        self.changes = 0
        """Changes they held."""

    async def submit(self, change: Change[T]) -> T:
        """Commit a change; its result, once that is on disk.

        A cancellation of the caller is held back until the outcome is known (see `uncancelled`).

        Raises:
            PowerLoopError: what the change raised, or a `StoreError`; the state is as before.
        """
        if self._closed:
            raise LoopClosedError("the store is closed; open it again")
        if asyncio.get_running_loop() is not self._loop:
            raise LoopClosedError("the store belongs to another event loop; open one in this loop")
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Waiting(change, done))
        if self._idle is None:
            self._idle = self._loop.create_future()
            self._loop.call_soon(self._next_batch)
        return await uncancelled(done)

    async def close(self) -> None:
        """Commit what waits, then take nothing more."""
        self._closed = True
        if self._idle is not None:
            await uncancelled(self._idle)

    def _next_batch(self) -> None:
        if self._waiting:
            batch, self._waiting = self._waiting, []
            carried = self._thread.call(self._carry_out, [waiting.change for waiting in batch])
            carried.add_done_callback(partial(self._carried, batch))
        elif self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def _carried(self, batch: list[_Waiting], carried: asyncio.Future[list[Any]]) -> None:
        failure = carried.exception()
        outcomes = carried.result() if failure is None else [failure] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            _deliver(waiting.done, outcome)
        self._next_batch()

    def _carry_out(self, changes: list[Change[Any]]) -> list[Any]:
        """One outcome a change: its result, or the exception it failed with. Runs on the connection's thread."""
        try:
            if identity(self._port.path) != self._file:
                raise gone(self._port.path)
            self._port.reached("sql.begin")
            self._connection.execute("BEGIN IMMEDIATE")
        except Exception as error:  # noqa: BLE001 - whoever waits hears it
            return [_translated(self._port.path, error)] * len(changes)  # no change is to blame
        try:
            return self._commit(changes)
        except Exception as error:  # noqa: BLE001 - as above
            if len(changes) == 1:
                return [_translated(self._port.path, error)]
        # The transaction failed as a whole, maybe for one change's sake: let each stand or fall alone.
        return [outcome for change in changes for outcome in self._carry_out([change])]

    def _commit(self, changes: list[Change[Any]]) -> list[Any]:
        try:
            # A change alone needs no savepoint: what undoes the transaction undoes it.
            alone = len(changes) == 1
            outcomes = [changes[0](self._port)] if alone else [self._one(change) for change in changes]
            self._port.reached("sql.commit")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.commits += 1
        self.changes += len(changes)
        self._port.reached("store.committed")
        return outcomes

    def _one(self, change: Change[Any]) -> Any:
        execute = self._connection.execute
        execute("SAVEPOINT change")
        try:
            result = change(self._port)
        except Exception as error:  # whatever a change raises is its caller's to hear
            if not self._connection.in_transaction:
                raise
            execute("ROLLBACK TO change")
            execute("RELEASE change")
            return _translated(self._port.path, error)
        execute("RELEASE change")
        return result


def _translated(path: str, error: Exception) -> Exception:
    """What the caller of a change hears: errors of ours as they are, others as ours with the original as the cause."""
    ours = typed(path, error)
    if ours is not error:
        ours.__cause__ = error
    return ours


def _deliver(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.cancelled():
        return
    if isinstance(outcome, BaseException):
        done.set_exception(outcome)
        done.exception()  # a caller that went away is no reason for a warning
    else:
        done.set_result(outcome)
