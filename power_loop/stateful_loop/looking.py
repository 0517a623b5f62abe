"""What can be seen of sessions. Nothing here writes."""

from __future__ import annotations

from power_loop.engine.calls import OpenCall
from power_loop.errors import InputInvalidError
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.conductor import Conductor
from power_loop.stateful_loop.results import SessionUsage
from power_loop.store.contract import Listing
from power_loop.store.records import CallInfo, CompactionInfo, QueuedInput, SessionInfo, StoredMessage, TurnInfo
from power_loop.values import session_id as checked_id


class Looking:
    """The part of `StatefulAgentLoop` that looks."""

    async def get_session(self, session_id: str) -> SessionInfo:
        store = (await self._open()).store
        return await store.session_info(checked_id(session_id))

    async def list_sessions(
        self,
        *,
        limit: int = 50,
        archived: bool = False,
        parent: str | None = None,
        before: SessionInfo | None = None,
    ) -> list[SessionInfo]:
        """Sessions, the one changed last first; `before` is the last one of the page before."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise InputInvalidError("limit", f"is {limit!r}", "give a number from 1 to 10000")
        if before is not None and not isinstance(before, SessionInfo):
            raise InputInvalidError("before", f"is a {type(before).__name__}", "give a session of the page before")
        which = Listing(
            limit=limit,
            archived=bool(archived),
            parent=None if parent is None else checked_id(parent),
            before=None if before is None else (before.updated_at, before.session_id),
        )
        store = (await self._open()).store
        return await store.list_sessions(which)

    async def find_session(self, prefix: str) -> str:
        """The one session whose id is, or begins with, this. Raises `SessionNotFoundError`, `SessionAmbiguousError`."""
        store = (await self._open()).store
        return await store.find_session(checked_id(prefix))

    async def get_messages(
        self, session_id: str, *, include_compacted: bool = False, mark_damage: bool = False
    ) -> list[StoredMessage]:
        """The messages in the model's order: those it sees, or with `include_compacted` the folded ones too.

        Raises:
            StoreDamagedError: one is not what was written, unless `mark_damage` has it shown as `damaged`.
        """
        store = (await self._open()).store
        return await store.messages(
            checked_id(session_id), include_compacted=include_compacted, mark_damage=mark_damage
        )

    async def get_pending(self, session_id: str) -> list[OpenCall]:
        """The open calls, in the order asked for."""
        store = (await self._open()).store
        return await store.pending(checked_id(session_id))

    async def get_calls(self, session_id: str) -> list[CallInfo]:
        """The whole ledger: every call ever asked for, and what became of it."""
        store = (await self._open()).store
        return await store.calls(checked_id(session_id))

    async def get_turns(self, session_id: str) -> list[TurnInfo]:
        store = (await self._open()).store
        return await store.turns(checked_id(session_id))

    async def get_usage(self, session_id: str, *, turn: int | None = None) -> SessionUsage:
        """Every model call, one row each, and their sums; with `turn`, of that turn."""
        if turn is not None and (isinstance(turn, bool) or not isinstance(turn, int) or not 0 <= turn < 2**63):
            raise InputInvalidError("turn", f"is {turn!r}", "give the number of a turn")
        store = (await self._open()).store
        return SessionUsage(tuple(await store.usage(checked_id(session_id), turn)))

    async def get_queued(self, session_id: str) -> list[QueuedInput]:
        """The inputs that wait to be taken in, in the order they came."""
        store = (await self._open()).store
        return await store.queued_inputs(checked_id(session_id))

    async def get_compactions(self, session_id: str) -> list[CompactionInfo]:
        """Every compaction, in order, undone or not."""
        store = (await self._open()).store
        return await store.compactions(checked_id(session_id))

    async def recall_output(self, session_id: str, handle: str, *, offset: int = 0, limit: int | None = None) -> str:
        """The exact text of a result that is shown in short or was folded; or `limit` characters of it from `offset`.

        The handle stands in the short text; `StoredMessage.handle` has it. A session reads its own results and those of
        its tree: what `parent` links.

        Raises:
            OutputNotFoundError: there is no such result, or it is of a session of another tree.
            StoreDamagedError: it is not what was written.
            SessionNotFoundError, InputInvalidError: as they say.
        """
        session = checked_id(session_id)
        first = inputs.whole_number("offset", offset)
        last = None if limit is None else first + inputs.whole_number("limit", limit)
        store = (await self._open()).store
        return (await store.output(session, inputs.short_text("handle", handle)))[first:last]

    async def _open(self, *, for_turns: bool = False) -> Conductor:
        """The open store with all that runs over it."""
        raise NotImplementedError
