"""The embedded store: a writer, a reader and the owners' locks over one file."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from power_loop.engine.calls import OpenCall
from power_loop.engine.facts import CompactionFailed, Fact, HistoryCompacted
from power_loop.errors import LoopClosedError, StoreReadOnlyError
from power_loop.shielding import uncancelled
from power_loop.store import listing, reads, records, replaying, spending
from power_loop.store.listing import Listing
from power_loop.store.port import Port, Row
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.faults import translated
from power_loop.store.sqlite.opening import Opening, open_reader, open_writer
from power_loop.store.sqlite.owners import Owners
from power_loop.store.sqlite.threads import SqliteThread
from power_loop.store.sqlite.writer import Writer
from power_loop.store.transactions import begin, compact, manage, record, resume, rows, settle, taking, waits
from power_loop.values import SessionId

T = TypeVar("T")


class SqliteStore:
    """Made by `open_store`. Bound to the event loop it was opened in."""

    def __init__(self, how: Opening, owners: Owners, writer: Writer | None, threads: Sequence[SqliteThread]) -> None:
        self._how = how
        self._world = how.world
        self._owners = owners
        self._writer = writer
        self._threads = threads
        self._reader = threads[-1]
        self._port = SqlitePort(self._reader.raw, str(how.path), how.world.reached)
        self._loop = asyncio.get_running_loop()
        self._driving: dict[int, int] = {}
        """Epochs under which turns of ours run, by session key: what tells our running turn from one we lost."""
        self._closed = False
        # A script that forgets `aclose` must still exit: threads are daemons, and this closes them at exit.
        self._finish = weakref.finalize(self, _stop, owners, tuple(threads))

    @classmethod
    async def open(cls, how: Opening) -> SqliteStore:
        """Raises `StoreError`s, before anything is written or replaced."""
        opened: list[SqliteThread] = []
        try:
            if not how.read_only:
                opened.append(await SqliteThread.start(lambda: open_writer(how)))
            opened.append(await SqliteThread.start(lambda: open_reader(how)))
        except BaseException:
            for thread in opened:
                await thread.aclose()
            raise
        owners = Owners(how.path, how.world.new_id())
        writer = None
        if not how.read_only:
            writer = Writer(opened[0], SqlitePort(opened[0].raw, str(how.path), how.world.reached))
        return cls(how, owners, writer, opened)

    @property
    def path(self) -> str:
        return str(self._how.path)

    @property
    def commits(self) -> int:
        """Transactions committed since it was opened."""
        return 0 if self._writer is None else self._writer.commits

    @property
    def changes(self) -> int:
        """Changes they held: with many sessions at once far more than commits."""
        return 0 if self._writer is None else self._writer.changes

    async def create_session(self, new: manage.NewSession) -> None:
        at = self._world.micros()
        await self._write(lambda db: manage.create_session(db, at, new))

    async def begin_turn(
        self, wanted: begin.Input, *, ahead: bool = False
    ) -> begin.Begun | begin.Known | begin.Waiting:
        at = self._world.micros()
        claim: Callable[[Port], begin.Begun | begin.Known | begin.Waiting]
        claim = lambda db: begin.begin_turn(db, at, self._owner(), wanted)  # noqa: E731
        return await (self._claim_ahead(claim) if ahead else self._claim(claim))

    async def resume_turn(
        self,
        session: SessionId,
        decisions: Mapping[str, str],
        *,
        only_orphan: bool = False,
        force: bool = False,
        origin: int | None = None,
        max_recoveries: int | None = None,
        accept: Callable[[Sequence[records.CallInfo]], None] | None = None,
    ) -> begin.Begun | begin.Known | resume.Quarantined:
        at = self._world.micros()
        return await self._claim(
            lambda db: resume.resume_turn(
                db,
                at,
                self._owner(),
                session,
                decisions,
                only_orphan=only_orphan,
                force=force,
                origin=origin,
                max_recoveries=max_recoveries,
                accept=accept,
            )
        )

    async def queue_input(self, wanted: begin.Input) -> begin.Known | begin.Waiting:
        at = self._world.micros()
        # Its outcome reaches even a cancelled caller, who has to take the input out again.
        return await self._writing.submit(lambda db: begin.queue_input(db, at, self._owner(), wanted))

    async def begin_next(
        self, session: SessionId, number: int | None, *, abort_reason: str | None = None
    ) -> begin.Begun | begin.Known | None:
        at = self._world.micros()
        return await self._claim(
            lambda db: begin.begin_next(db, at, self._owner(), session, number, abort_reason=abort_reason)
        )

    async def take_inputs(self, claim: begin.Claim) -> taking.Taken:
        at = self._world.micros()
        return await self._write(lambda db: taking.take_inputs(db, at, claim))

    async def withdraw_input(self, session: SessionId, number: int) -> bool:
        return await self._write(lambda db: manage.withdraw_input(db, session, number))

    async def free_session(self, session: SessionId) -> bool:
        at = self._world.micros()
        return await self._write(lambda db: settle.free_session(db, at, self._undriven(db, session)))

    async def record(self, claim: begin.Claim, facts: Sequence[Fact]) -> int:
        at = self._world.micros()
        return await self._write(lambda db: record.record(db, at, claim, facts))

    def release(self, claim: begin.Claim) -> None:
        if self._driving.get(claim.key) == claim.epoch:
            del self._driving[claim.key]

    async def abort_pending(self, session: SessionId, reason: str, *, force: bool = False) -> list[str]:
        at = self._world.micros()
        return await self._write(lambda db: settle.abort_pending(db, at, self._owner(), session, reason, force=force))

    async def resolve_call(self, session: SessionId, call_id: str, said: settle.Resolution) -> None:
        at = self._world.micros()
        await self._write(lambda db: settle.resolve_call(db, at, self._owner(), session, call_id, said))

    async def decide_approval(self, session: SessionId, call_id: str, said: waits.Said) -> records.WaitInfo:
        at = self._world.micros()
        return await self._write(lambda db: waits.decide_approval(db, at, self._owner(), session, call_id, said))

    async def submit_results(self, session: SessionId, results: Mapping[str, waits.HostResult]) -> None:
        at = self._world.micros()
        await self._write(lambda db: waits.submit_results(db, at, self._owner(), session, results))

    async def interrupt_session(
        self, session: SessionId, *, abort_reason: str | None = None
    ) -> records.TurnInfo | None:
        at = self._world.micros()
        return await self._write(
            lambda db: settle.interrupt_session(db, at, self._owner(), session, abort_reason=abort_reason)
        )

    async def archive_session(self, session: SessionId, archived: bool) -> None:
        at = self._world.micros()
        await self._write(lambda db: manage.archive_session(db, at, self._undriven(db, session), archived))

    async def close_session(self, session: SessionId, cascade: bool) -> list[str]:
        at = self._world.micros()
        return await self._write(lambda db: settle.close_session(db, at, self._owner(), session, cascade))

    async def delete_session(self, session: SessionId) -> list[str]:
        at = self._world.micros()
        return await self._write(lambda db: settle.delete_session(db, at, self._owner(), session))

    async def request_stop(self, session: SessionId, reason: str) -> bool:
        at = self._world.micros()
        return await self._write(lambda db: manage.request_stop(db, at, self._drives, session, reason))

    async def session_info(self, session: SessionId) -> records.SessionInfo:
        return await self.read(lambda db: listing.session_info(db, self._drives, session))

    async def list_sessions(self, which: Listing) -> list[records.SessionInfo]:
        return await self.read(lambda db: listing.list_sessions(db, self._drives, which))

    async def find_session(self, prefix: str) -> SessionId:
        return await self.read(lambda db: reads.find_session(db, prefix))

    async def history(self, session: SessionId) -> reads.History:
        return await self.read(lambda db: reads.history(db, session))

    async def messages(
        self, session: SessionId, *, include_compacted: bool, mark_damage: bool
    ) -> list[records.StoredMessage]:
        return await self.read(
            lambda db: reads.messages(db, session, include_compacted=include_compacted, mark_damage=mark_damage)
        )

    async def message(self, session: SessionId, seq: int) -> records.StoredMessage | None:
        return await self.read(lambda db: reads.message(db, session, seq))

    async def output(self, session: SessionId, handle: str) -> str:
        return await self.read(lambda db: reads.output(db, session, handle))

    async def pending(self, session: SessionId) -> list[OpenCall]:
        return await self.read(lambda db: reads.pending(db, self._drives, session))

    async def calls(self, session: SessionId) -> list[records.CallInfo]:
        return await self.read(lambda db: reads.calls(db, session))

    async def waits(self, session: SessionId | None, *, decided: bool) -> list[records.WaitInfo]:
        return await self.read(lambda db: reads.waits(db, session, decided=decided))

    async def calls_of_answer(self, session: SessionId, seq: int) -> list[records.CallInfo]:
        return await self.read(lambda db: reads.calls_of_answer(db, session, seq))

    async def spending(self, session: SessionId, origin: int, besides: int, *, tree: bool) -> spending.Spending:
        at = self._world.micros()
        return await self.read(lambda db: spending.spending(db, at, session, origin, besides, tree=tree))

    async def memories(self, session: SessionId) -> dict[str, str]:
        return await self.read(lambda db: reads.memories(db, session))

    async def events(self, session: SessionId, after: int, limit: int) -> replaying.EventPage:
        return await self.read(lambda db: replaying.events(db, session, after, limit))

    async def compact_session(self, session: SessionId, epoch: int, fact: HistoryCompacted) -> records.CompactionInfo:
        at = self._world.micros()
        return await self._write(lambda db: compact.compact_session(db, at, self._owner(), session, epoch, fact))

    async def count_failed_compaction(self, session: SessionId, fact: CompactionFailed) -> None:
        at = self._world.micros()
        await self._write(lambda db: compact.count_failed_compaction(db, at, self._owner(), session, fact))

    async def undo_compaction(self, session: SessionId) -> records.CompactionInfo:
        at = self._world.micros()
        return await self._write(lambda db: compact.undo_compaction(db, at, self._owner(), session))

    async def compactions(self, session: SessionId) -> list[records.CompactionInfo]:
        return await self.read(lambda db: reads.compactions(db, session))

    async def turns(self, session: SessionId) -> list[records.TurnInfo]:
        return await self.read(lambda db: reads.turns(db, session))

    async def usage(self, session: SessionId, turn: int | None) -> list[records.UsageInfo]:
        return await self.read(lambda db: reads.usage(db, session, turn))

    async def queued_inputs(self, session: SessionId) -> list[records.QueuedInput]:
        return await self.read(lambda db: reads.queued(db, session))

    async def unattended(self) -> list[SessionId]:
        return await self.read(lambda db: reads.unattended(db, self._drives, self._owners.alive))

    async def steered(self) -> list[SessionId]:
        return await self.read(reads.steered)

    async def orphans(self) -> list[SessionId]:
        return await self.read(lambda db: reads.orphans(db, self._drives))

    async def stops_requested(self) -> list[tuple[SessionId, int, str]]:
        return await self.read(reads.stops_requested)

    async def changed(self) -> int:
        return await self.read(lambda db: int(_only(db.one("data_version"))["data_version"]))

    async def read(self, question: Callable[[Port], T]) -> T:
        """Ask over one consistent view of the database; nothing can be written."""
        self._check_usable()
        found: T = await self._reader.call(self._ask, question)
        return found

    async def aclose(self) -> None:
        """Commit what waits and give everything back. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            await uncancelled(self._give_back())

    async def _give_back(self) -> None:
        if self._writer is not None and asyncio.get_running_loop() is self._loop:
            await self._writer.close()
        # The reader goes first: whoever closes last tidies the write-ahead log, and only the writer may.
        for thread in reversed(self._threads):
            await thread.aclose()
        self._owners.leave()
        self._finish.detach()

    async def _claim(self, claim: Callable[[Port], T]) -> T:
        """Carry out a change that may make a turn ours. It reaches even a cancelled caller, who has to end it."""
        claimed: list[begin.Claim] = []
        try:
            return await self._writing.submit(self._noting(claim, claimed))
        except BaseException:
            self._released(claimed)
            raise

    async def _claim_ahead(self, claim: Callable[[Port], T]) -> T | begin.Begun:
        """As `_claim`; but a turn that began is known before its commit is on disk, and says when it is."""
        claimed: list[begin.Claim] = []
        told = lambda failure: None if failure is None else self._released(claimed)  # noqa: E731
        try:
            begun, stored = await self._writing.submit_ahead(self._noting(claim, claimed), told)
        except BaseException:
            self._released(claimed)
            raise
        if isinstance(begun, begin.Begun):
            return replace(begun, stored=stored.wait)
        return await stored.wait()

    def _noting(self, claim: Callable[[Port], T], claimed: list[begin.Claim]) -> Callable[[Port], T]:
        def change(db: Port) -> T:
            begun = claim(db)
            if isinstance(begun, begin.Begun):
                # Noted before the commit: at no instant does the file say "ours" while nothing here says so too.
                claimed.append(begun.claim)
                self._driving[begun.claim.key] = begun.claim.epoch
            return begun

        return change

    def _released(self, claimed: Sequence[begin.Claim]) -> None:
        for lost in claimed:
            self.release(lost)

    async def _write(self, change: Callable[[Port], T]) -> T:
        try:
            return await self._writing.submit(change)
        finally:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                await asyncio.sleep(0)  # a cancellation that had to wait goes through here, not at some later await

    @property
    def _writing(self) -> Writer:
        self._check_usable()
        if self._writer is None:
            raise StoreReadOnlyError(self.path, "the store was opened for reading only", "open it for writing")
        return self._writer

    def _ask(self, question: Callable[[Port], Any]) -> Any:
        connection = self._reader.raw
        with translated(self.path):
            connection.execute("BEGIN")
            try:
                return question(self._port)
            finally:
                connection.execute("ROLLBACK")

    def _drives(self, key: int, owner: str | None) -> bool:
        """Whether somebody alive drives a session: another living process, or a turn that runs in this one."""
        if owner is None:
            return False
        return key in self._driving if owner == self._owners.name else self._owners.alive(owner)

    def _owner(self) -> begin.Owner:
        return begin.Owner(name=self._owners.enlist(), drives=self._drives, alive=self._owners.alive)

    def _undriven(self, db: Port, session: SessionId) -> records.SessionRow:
        return begin.undriven(self._owner(), rows.session_row(db, session))

    def _check_usable(self) -> None:
        if self._closed:
            raise LoopClosedError(f"the store {self.path} is closed; open it again")
        if asyncio.get_running_loop() is not self._loop:
            raise LoopClosedError(f"the store {self.path} belongs to another event loop; open one in this loop")


def _stop(owners: Owners, threads: tuple[SqliteThread, ...]) -> None:
    for thread in reversed(threads):
        thread.stop()
    owners.leave()


def _only(row: Row | None) -> Row:
    assert row is not None
    return row
