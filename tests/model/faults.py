"""Stores with a fault each, so that the machine is seen to find it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from power_loop import SessionStore
from power_loop.engine import facts as f
from power_loop.store.contract import Begun, Claim, Waiting


class Broken:
    """A store that does what another does."""

    def __init__(self, store: Any, path: str) -> None:
        self._store = store
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _change(self, statement: str, **values: Any) -> None:
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:
            db.execute(statement, values)


class LosesInput(Broken):
    """A turn that begins forgets an input that waits."""

    async def begin_next(self, session: Any, number: Any, **more: Any) -> Any:
        begun = await self._store.begin_next(session, number, **more)
        if isinstance(begun, Begun):
            self._change("DELETE FROM inputs WHERE turn IS NULL AND session = :key", key=begun.claim.key)
        return begun


class LosesQueued(Broken):
    """An input is said to wait, and does not."""

    async def queue_input(self, wanted: Any) -> Any:
        found = await self._store.queue_input(wanted)
        if isinstance(found, Waiting):
            await self._store.withdraw_input(wanted.session, found.number)
        return found


class StartsTwice(Broken):
    """A call is started twice."""

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        await self._store.record(claim, [*facts, *(fact for fact in facts if isinstance(fact, f.CallsStarted))])


class StartsLate(Broken):
    """The start of a call is written down with its result, after its function was entered."""

    def __init__(self, store: Any, path: str) -> None:
        super().__init__(store, path)
        self._late: list[f.Fact] = []

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        if facts and isinstance(facts[-1], f.CallsStarted):
            self._late = list(facts[-1:])
            facts = facts[:-1]
        else:
            facts, self._late = [*self._late, *facts], []
        if facts:
            await self._store.record(claim, facts)


class CountsNoRecovery(Broken):
    """A recovery is not counted."""

    async def resume_turn(self, session: Any, decisions: Any, **more: Any) -> Any:
        begun = await self._store.resume_turn(session, decisions, **more)
        if isinstance(begun, Begun):
            self._change("UPDATE sessions SET recoveries = 0 WHERE key = :key", key=begun.claim.key)
        return begun


class LosesUsage(Broken):
    """What a model call cost is not written down."""

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        await self._store.record(claim, facts)
        if any(hasattr(fact, "model_call") for fact in facts):
            self._change(
                "DELETE FROM usage WHERE session = :key"
                " AND number = (SELECT usage_rows FROM sessions WHERE key = :key)",
                key=claim.key,
            )
            self._change("UPDATE sessions SET usage_rows = usage_rows - 1 WHERE key = :key", key=claim.key)


class KeepsWithdrawn(Broken):
    """Whoever waited and is cancelled leaves the input behind."""

    async def withdraw_input(self, session: Any, number: int) -> bool:
        return True


class ForgetsResult(Broken):
    """An abort says it answered the calls, and leaves one open."""

    async def abort_pending(self, session: Any, reason: str, **more: Any) -> list[str]:
        return [call.id for call in await self._store.pending(session)]


FAULTS: Final[Mapping[str, Callable[[SessionStore, str], Any]]] = {
    "loses input": LosesInput,
    "loses queued": LosesQueued,
    "starts twice": StartsTwice,
    "starts late": StartsLate,
    "counts no recovery": CountsNoRecovery,
    "loses usage": LosesUsage,
    "keeps withdrawn": KeepsWithdrawn,
    "forgets result": ForgetsResult,
}
