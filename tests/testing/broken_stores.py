"""Subjects: the SQLite store with one promise broken each; `test_broken.py` looks which test of the suite fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from power_loop import open_store
from power_loop.engine import facts as f
from power_loop.errors import EpochLostError, OutputNotFoundError, SessionNotFoundError, StateError
from power_loop.store import SessionStore
from power_loop.store.contract import Begun, Claim, Input, Known, Listing, Taken, Waiting
from power_loop.store.records import StoredMessage, UsageInfo
from power_loop.testing.conformance import OpenStore, SessionStoreConformance
from power_loop.values import SessionId


class Sound:
    """A store around the real one, with nothing broken."""

    def __init__(self, store: SessionStore) -> None:
        self.real: Any = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class WithoutFencing(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        try:
            await self.real.record(claim, facts)
        except EpochLostError as lost:
            await self.real.record(replace(claim, epoch=lost.current), facts)


class AcknowledgesBeforeTheCommit(Sound):
    """Writes behind: what was recorded reaches the disk with the next thing anybody asks of this store."""

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self.late: list[tuple[Claim, Sequence[f.Fact]]] = []

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        self.late.append((claim, facts))

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self.real, name)

        async def flushed(*args: Any, **kwargs: Any) -> Any:
            while self.late:
                await self.real.record(*self.late.pop(0))
            return await asked(*args, **kwargs)

        return asked if name == "release" else flushed


class LosesAUsageRow(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        await self.real.record(claim, [fact for fact in facts if not isinstance(fact, f.AnswerDropped)])


class KeepsRowsOfTheDeleted(Sound):
    kept: ClassVar[dict[str, list[UsageInfo]]] = {}

    async def delete_session(self, session: SessionId) -> list[str]:
        self.kept[session] = await self.real.usage(session, None)
        gone: list[str] = await self.real.delete_session(session)
        return gone

    async def usage(self, session: SessionId, turn: int | None) -> list[UsageInfo]:
        try:
            found: list[UsageInfo] = await self.real.usage(session, turn)
        except SessionNotFoundError:
            if session not in self.kept:
                raise
            return self.kept[session]
        return found


class SettlesTwice(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        try:
            await self.real.record(claim, facts)
        except StateError:
            if not all(isinstance(fact, f.CallSettled) for fact in facts):
                raise


class CommitsFactByFact(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        for fact in facts:
            await self.real.record(claim, [fact])


class TakesHalfAList(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        await self.real.record(claim, facts[: (len(facts) + 1) // 2])


class ForgetsRequestIds(Sound):
    async def begin_turn(self, wanted: Input) -> Begun | Known:
        got: Begun | Known = await self.real.begin_turn(replace(wanted, request_id=None))
        return got


class StartsInMemory(Sound):
    """Intent follows effect: that a call started is written with its result."""

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self.held: list[f.Fact] = []

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        self.held += [fact for fact in facts if isinstance(fact, f.CallsStarted)]
        rest = [fact for fact in facts if not isinstance(fact, f.CallsStarted)]
        if any(isinstance(fact, f.CallSettled) for fact in rest):
            self.held, rest = [], [*self.held, *rest]
        if rest:
            await self.real.record(claim, rest)


class ShowsResultsAsTheyCame(Sound):
    async def messages(self, session: SessionId, **how: Any) -> list[StoredMessage]:
        found = await self.real.messages(session, **how)
        return sorted(found, key=lambda message: message.created_at)


class NeverSeesTheDead(Sound):
    async def orphans(self) -> list[SessionId]:
        return []


class TakesTheLivingForDead(Sound):
    async def resume_turn(self, session: SessionId, decisions: Mapping[str, str], **how: Any) -> Begun | Known:
        got: Begun | Known = await self.real.resume_turn(session, decisions, **how | {"force": True})
        return got


class RaisesItsDatabasesErrors(Sound):
    async def calls(self, session: SessionId) -> Any:
        try:
            return await self.real.calls(session)
        except SessionNotFoundError as error:
            raise sqlite3.OperationalError("no such row") from error


class DropsCharacters(Sound):
    async def begin_turn(self, wanted: Input) -> Begun | Known:
        got: Begun | Known = await self.real.begin_turn(replace(wanted, body=wanted.body.replace("\\u0000", "")))
        return got


class FoldsOneTooFew(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        kept = [
            replace(fact, folded=fact.folded[:-1]) if isinstance(fact, f.HistoryCompacted) else fact for fact in facts
        ]
        await self.real.record(claim, kept)


class FoldsWhatItDidNotRead(Sound):
    async def compact_session(self, session: SessionId, epoch: int, fact: f.HistoryCompacted) -> Any:
        now = (await self.real.history(session)).epoch
        seq = (await self.real.session_info(session)).messages + 1
        notes = tuple(replace(note, seq=seq + more) for more, note in enumerate(fact.notes))
        return await self.real.compact_session(session, now, replace(fact, notes=notes))


class NeverChanged(Sound):
    async def changed(self) -> int:
        return 1


class PagesAgain(Sound):
    async def list_sessions(self, which: Any) -> Any:
        return await self.real.list_sessions(replace(which, before=None))


class AbortsWithoutAnswer(Sound):
    async def begin_turn(self, wanted: Input) -> Begun | Known:
        got: Begun | Known = await self.real.begin_turn(replace(wanted, abort_reason=wanted.abort_reason or "silently"))
        return got


class LosesWhatWaits(Sound):
    async def begin_turn(self, wanted: Input) -> Begun | Known | Waiting:
        got: Begun | Known | Waiting = await self.real.begin_turn(wanted)
        if isinstance(got, Waiting):
            await self.real.withdraw_input(wanted.session, got.number)
        return got


class TakesInputsBeforeTheCommit(Sound):
    """Says which inputs are part of the turn, and leaves them in the inbox."""

    async def take_inputs(self, claim: Claim) -> Taken:
        waiting = await self.real.queued_inputs(claim.session)
        taken = tuple(f.NewMessage(seq=4 + n, role="user", body=one.body) for n, one in enumerate(waiting))
        return Taken(taken, 0)


class ShowsAPartForTheWhole(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        kept = [replace(fact, output=None) if isinstance(fact, f.CallSettled) else fact for fact in facts]
        await self.real.record(claim, kept)


class ReadsWhatIsAnothers(Sound):
    async def output(self, session: SessionId, handle: str) -> Any:
        await self.real.session_info(session)
        for info in await self.real.list_sessions(Listing(limit=100)):
            with suppress(OutputNotFoundError):
                return await self.real.output(info.session_id, handle)
        return await self.real.output(session, handle)


class RecoversForEver(Sound):
    async def resume_turn(self, session: SessionId, decisions: Mapping[str, str], **how: Any) -> Any:
        return await self.real.resume_turn(session, decisions, **how | {"max_recoveries": None})


class ReplaysFromTooEarly(Sound):
    async def events(self, session: SessionId, after: int, limit: int) -> Any:
        return await self.real.events(session, max(0, after - 1), limit)


class SaysNoNumber(Sound):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> int:
        await self.real.record(claim, facts)
        return 0


class BrokenRules(SessionStoreConformance):
    subject: ClassVar[type[Sound]]

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        async def opening() -> SessionStore:
            return self.subject(await open_store(tmp_path / "agent.db"))  # type: ignore[return-value]

        return opening


for _subject in (Sound, *Sound.__subclasses__()):
    globals()[f"Test{_subject.__name__}"] = type(f"Test{_subject.__name__}", (BrokenRules,), {"subject": _subject})
