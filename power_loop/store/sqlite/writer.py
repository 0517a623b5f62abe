"""The one place that commits. Whatever waits is committed together, and each caller hears of it once it is on disk.

A change is a plain function over a `Port`. A batch is one transaction. A change that raises before it has written
anything fails alone; where one raises later, the batch is written once more with a savepoint a change; where the
transaction fails as a whole, each change is tried by itself. Nobody's cancellation reaches the connection; what was
handed in is carried out. No task runs in here: an event loop that shuts down cancels all tasks, and whoever waits for a
commit must hear of it even then.

A caller may ask to hear of its change *ahead*: once the batch is written, before it is flushed. Then the two are jobs
of their own on the connection's thread, the second right behind the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from power_loop.errors import LoopClosedError, StoreError
from power_loop.shielding import Outcome
from power_loop.store.port import Port
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.faults import typed
from power_loop.store.sqlite.placing import gone, identity
from power_loop.store.sqlite.threads import SqliteThread

T = TypeVar("T")
Change = Callable[[Port], T]

_NOTHING: Final = object()


class _HalfWrittenError(Exception):
    """A change raised after it had written: its batch is not to be committed."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T]):
    change: Change[T]
    stored: Outcome[T]
    ahead: Outcome[T] | None = None
    told: Any = _NOTHING
    """What its caller was told ahead of the commit."""


@dataclass(slots=True, eq=False)
class _Batch:
    waiting: list[_Waiting[Any]]
    outcomes: list[Any] = field(default_factory=list)
    """One a change: its result, or the exception it failed with."""
    failure: BaseException | None = None
    """Why the transaction failed as a whole, or is not to be committed."""


class Writer:
    """Group commit on aiosqlite's thread. Bound to the event loop it was made in."""

    def __init__(self, thread: SqliteThread, port: SqlitePort) -> None:
        self._thread = thread
        self._file = identity(port.path)
        self._connection = thread.raw
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting[Any]] = []
        self._idle: Outcome[None] | None = None
        """Known once nothing waits; None while nothing does."""
        self._closed = False
        self.commits = 0
        """Transactions committed so far."""
        self.changes = 0
        """Changes they held."""

    async def submit(self, change: Change[T]) -> T:
        """Commit a change; its result, once that is on disk.

        A cancellation of the caller is held back until the outcome is known (see `Outcome.wait`).

        Raises:
            PowerLoopError: what the change raised, or a `StoreError`; the state is as before.
        """
        return await self._enqueue(_Waiting(change, Outcome())).stored.wait()

    async def submit_ahead(
        self, change: Change[T], told: Callable[[BaseException | None], None]
    ) -> tuple[T, Outcome[T]]:
        """Commit a change; its result, as soon as that is certain but for the commit itself, and what becomes of that.

        `told` hears of the commit, or why there is none, whether anybody waits for it or not.

        Raises:
            PowerLoopError: as `submit`.
        """
        waiting = self._enqueue(_Waiting(change, Outcome(told), Outcome()))
        assert waiting.ahead is not None
        return await waiting.ahead.wait(), waiting.stored

    async def close(self) -> None:
        """Commit what waits, then take nothing more."""
        self._closed = True
        if self._idle is not None:
            await self._idle.wait()

    def _enqueue(self, waiting: _Waiting[T]) -> _Waiting[T]:
        if self._closed:
            raise LoopClosedError("the store is closed; open it again")
        if asyncio.get_running_loop() is not self._loop:
            raise LoopClosedError("the store belongs to another event loop; open one in this loop")
        self._waiting.append(waiting)
        if self._idle is None:
            self._idle = Outcome()
            self._loop.call_soon(self._next_batch)
        return waiting

    def _next_batch(self) -> None:
        if self._waiting:
            batch, self._waiting = _Batch(self._waiting), []
            if any(waiting.ahead is not None for waiting in batch.waiting):
                self._thread.post(partial(self._write, batch), partial(self._tell_ahead, batch))
                self._thread.post(partial(self._store, batch), partial(self._tell, batch))
            else:
                self._thread.post(partial(self._carry_out, batch), partial(self._tell, batch))
        elif self._idle is not None:
            self._idle.bring(None)
            self._idle = None

    def _tell_ahead(self, batch: _Batch, failure: BaseException | None) -> None:
        if failure is not None:
            return  # the job behind this one fails as well, and tells
        for waiting, outcome in zip(batch.waiting, batch.outcomes, strict=False):
            if waiting.ahead is not None and not isinstance(outcome, BaseException):
                waiting.told = outcome
                waiting.ahead.bring(outcome)

    def _tell(self, batch: _Batch, failure: BaseException | None) -> None:
        outcomes = batch.outcomes if failure is None else [failure] * len(batch.waiting)
        for waiting, outcome in zip(batch.waiting, outcomes, strict=True):
            if waiting.told is not _NOTHING and outcome != waiting.told and not isinstance(outcome, BaseException):
                outcome = _otherwise(self._port.path)
            _deliver(waiting.stored, outcome)
            if waiting.ahead is not None and waiting.told is _NOTHING:
                _deliver(waiting.ahead, outcome)
        self._next_batch()

    # What follows runs on the connection's thread.

    def _carry_out(self, batch: _Batch) -> None:
        self._write(batch)
        self._store(batch)

    def _write(self, batch: _Batch) -> None:
        """Carry the changes of a batch out, in a transaction that stays open."""
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - whoever waits hears it
            batch.outcomes = [_translated(self._port.path, error)] * len(batch.waiting)  # no change is to blame
            return
        try:
            try:
                batch.outcomes = [self._one(waiting.change) for waiting in batch.waiting]
            except _HalfWrittenError:
                self._connection.execute("ROLLBACK")
                self._begin()
                batch.outcomes = [self._saved(waiting.change) for waiting in batch.waiting]
        except BaseException as error:  # noqa: BLE001 - `_undo` keeps it, or lets it go on
            self._undo(batch, error)

    def _begin(self) -> None:
        if identity(self._port.path) != self._file:
            raise gone(self._port.path)
        self._port.reached("sql.begin")
        self._connection.execute("BEGIN IMMEDIATE")

    def _store(self, batch: _Batch) -> None:
        """Commit what was written. If that fails, maybe for one change's sake, let each stand or fall alone."""
        if batch.failure is None:
            if not self._connection.in_transaction:
                return  # it never began
            try:
                self._port.reached("sql.commit")
                self._connection.execute("COMMIT")
            except BaseException as error:  # noqa: BLE001 - as above
                self._undo(batch, error)
            else:
                self.commits += 1
                self.changes += len(batch.waiting)
                self._port.reached("store.committed")
                return
        if len(batch.waiting) == 1:
            assert isinstance(batch.failure, Exception)
            batch.outcomes = [_translated(self._port.path, batch.failure)]
            return
        for waiting in batch.waiting:
            alone = _Batch([waiting])
            self._carry_out(alone)
            batch.outcomes += alone.outcomes

    def _one(self, change: Change[Any]) -> Any:
        written = self._connection.total_changes
        try:
            return change(self._port)
        except Exception as error:  # whatever a change raises is its caller's to hear
            if not self._connection.in_transaction:
                raise
            if self._connection.total_changes != written:
                raise _HalfWrittenError from error
            return _translated(self._port.path, error)

    def _saved(self, change: Change[Any]) -> Any:
        """As `_one`; whatever a change that raises had written is undone alone."""
        execute = self._connection.execute
        execute("SAVEPOINT change")
        try:
            result = change(self._port)
        except Exception as error:  # as above
            if not self._connection.in_transaction:
                raise
            execute("ROLLBACK TO change")
            execute("RELEASE change")
            return _translated(self._port.path, error)
        execute("RELEASE change")
        return result

    def _undo(self, batch: _Batch, error: BaseException) -> None:
        batch.outcomes, batch.failure = [], error
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if not isinstance(error, Exception):
            raise error


def _translated(path: str, error: Exception) -> Exception:
    """What the caller of a change hears: errors of ours as they are, others as ours with the original as the cause."""
    ours = typed(path, error)
    if ours is not error:
        ours.__cause__ = error
    return ours


def _otherwise(path: str) -> StoreError:
    """A commit failed, and when the change was tried again somebody else had been faster."""
    return StoreError(
        path, "the disk failed for a moment, and the state changed meanwhile", "look at it, and try again"
    )


def _deliver(outcome: Outcome[Any], result: Any) -> None:
    if isinstance(result, BaseException):
        outcome.fail(result)
    else:
        outcome.bring(result)
