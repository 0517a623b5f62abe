"""`StatefulAgentLoop`: sessions that survive anything, from an async app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from llm_client.service import LLMService
from power_loop.config import AgentLoopConfig
from power_loop.engine.calls import OpenCall
from power_loop.errors import ConfigError, InputInvalidError, LoopClosedError, NotConfiguredError, PowerLoopError
from power_loop.events import Event, Feed
from power_loop.loop.turn import Gear
from power_loop.shielding import uncancelled
from power_loop.sink import MessageSink
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.conductor import Conductor, IfBusy, Manner, OnPending
from power_loop.stateful_loop.recovery import Recovered
from power_loop.stateful_loop.results import SessionUsage, StatefulResult
from power_loop.stateful_loop.runner import Runner
from power_loop.stateful_loop.watch import StopEvent
from power_loop.store import SessionStore, open_store
from power_loop.store.contract import Input, Listing, NewSession
from power_loop.store.records import CallInfo, SessionInfo, StoredMessage, TurnInfo
from power_loop.tools import Tool, ToolRegistry
from power_loop.values import InDoubt, SessionId, World
from power_loop.values import session_id as checked_id


class StatefulAgentLoop:
    """A crash-safe agent: `async with StatefulAgentLoop(...) as loop: await loop.send("hello")`.

    `llm` and `tools` may be absent: inspecting, aborting and resolving need neither. The store is the SQLite file at
    `db_path`, opened at the first use, or a `store` of yours, which stays yours to close. `create`: None makes a missing
    file, True also begins anew in one of 0 bytes, False wants a database that is there. Bound to one event loop.

    Every method raises only `PowerLoopError`s, each with a stable `code`, and where it raises before a turn began,
    nothing was written.

    Raises:
        ConfigError: neither or both of `db_path` and `store` are given.
        ToolDefinitionError: a tool is no tool, or two share a name.
    """

    def __init__(
        self,
        *,
        llm: LLMService | None = None,
        db_path: str | os.PathLike[str] | None = None,
        store: SessionStore | None = None,
        create: bool | None = None,
        tools: Iterable[Tool] | ToolRegistry | None = None,
        config: AgentLoopConfig | None = None,
        sinks: Sequence[MessageSink] = (),
        world: World | None = None,
    ) -> None:
        if (db_path is None) == (store is None):
            raise ConfigError(["give either db_path or store"])
        self.config = config or AgentLoopConfig()
        self.tools = ToolRegistry.of(tools)
        self._llm = llm
        self._db_path = db_path
        self._given = store
        self._create = create
        self._world = world or World()
        self._sinks = tuple(sinks)
        self._opening: asyncio.Task[Conductor] | None = None
        self._closed = False

    async def create_session(
        self,
        session_id: str | None = None,
        *,
        system_prompt: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> str:
        """Make a session, with an id of yours or a new one; its id. On disk when this returns.

        `system_prompt` and `model` override the configuration's for this session and stay with it; `parent` links it to
        another, with which it is closed and deleted.

        Raises:
            SessionExistsError: it is there already; nothing is changed.
            SessionNotFoundError: there is no such parent.
            InputInvalidError: an argument breaks a rule.
        """
        new = self._new_session(session_id, system_prompt, model, metadata, parent)
        store = (await self._open()).store
        await store.create_session(new)
        return new.id

    async def send(
        self,
        user_input: inputs.UserInput,
        session_id: str | None = None,
        *,
        request_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_pending: OnPending = "raise",
        if_busy: IfBusy = "wait",
        stop_event: StopEvent | None = None,
    ) -> StatefulResult:
        """Send an input and run the turn it begins; how that ended.

        The input is on stable storage before the model is asked; every answer, call and result is before anything
        depends on it. If the process dies, a fresh one finds the session as `get_session` and `get_pending` show it.

        Without `session_id` a new session is made, in the same commit as the input. A `request_id` names the input: the
        same id again never stores it twice; it returns the stored outcome once that turn was answered, and otherwise goes
        on from where the session stands. If calls of an earlier turn are open, `on_pending` says whether to refuse, to
        resume them first, or to abort them in the commit that stores the input. If another turn runs, `if_busy` says
        whether to wait for it or to refuse. Cancelling this call stops the turn: it is recorded as cancelled before the
        cancellation goes through.

        Raises:
            SessionNotFoundError, SessionArchivedError, SessionClosedError: it takes no input. Nothing was written.
            SessionPendingError: calls are open and `on_pending` is `raise`. Nothing was written.
            SessionBusyError: another turn runs and `if_busy` is `raise`. Nothing was written.
            InputInvalidError, NotConfiguredError: an argument breaks a rule, or there is no model. Nothing was written.
            ModelError: no answer could be had. The input stays; `resume` asks again.
            EpochLostError: another process took the session over; what it did stands, what this one had left to do does not.
            StoreError: the store refused.
        """
        wanted = self._input(user_input, session_id, request_id, metadata)
        return await self._send(wanted, on_pending, Manner(if_busy=if_busy, stop_event=stop_event))

    async def stream(
        self,
        user_input: inputs.UserInput,
        session_id: str | None = None,
        *,
        request_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_pending: OnPending = "raise",
        if_busy: IfBusy = "wait",
        stop_event: StopEvent | None = None,
    ) -> AsyncIterator[Event | StatefulResult]:
        """As `send`, as an iterator of events that ends with the result.

        Facts come once they are on disk; deltas of text, reasoning and calls as the model says them (an `AttemptVoided`
        takes back those of a failed attempt); `ToolProgress` as tools say it. Leaving the iterator early stops the turn
        as a cancelled caller does: leave through `aclosing(...)` to wait for that.
        """
        feed = Feed()
        wanted = self._input(user_input, session_id, request_id, metadata)
        manner = Manner(if_busy=if_busy, stop_event=stop_event, listener=feed.publish)
        sending = asyncio.create_task(self._send(wanted, on_pending, manner))
        sending.add_done_callback(lambda _: feed.end())
        try:
            async for event in feed:
                yield event
            yield await sending
        finally:
            if not sending.done():
                sending.cancel()
                await uncancelled(asyncio.wait([sending]))

    def send_sync(self, user_input: inputs.UserInput, session_id: str | None = None, **options: Any) -> StatefulResult:
        """`send` for scripts without an event loop: opens the store, sends, closes it.

        Raises:
            LoopClosedError: an event loop runs here (use `await send`), or the store was given from outside.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise LoopClosedError("send_sync() was called inside an event loop; use `await loop.send(...)` there")
        if self._given is not None or self._opening is not None:
            raise LoopClosedError("the store belongs to an event loop; send_sync() needs a loop made with db_path alone")

        async def once() -> StatefulResult:
            try:
                return await self.send(user_input, session_id, **options)
            finally:
                await self._stop(0)

        return asyncio.run(once())

    async def resume(
        self,
        session_id: str,
        *,
        decisions: Mapping[str, str] | None = None,
        in_doubt: InDoubt | str | None = None,
        if_busy: IfBusy = "wait",
        stop_event: StopEvent | None = None,
    ) -> StatefulResult:
        """Go on from where an interrupted, failed, stopped or waiting turn stands, as a turn of its own.

        Calls that never ran run, through the same checks, limits and events as in a live turn. Calls that were running
        run again if their tool is `read` or `idempotent`, under the same idempotency key; a `once` call in doubt is
        reconciled by its tool, or else treated as `in_doubt` (the configuration's, unless given here) or this call's
        entry in `decisions` says: `retry`, `report`, `abort`. Then the model is asked again.

        With nothing to go on from, no model is called: the result is the last turn's, with `stop_reason` `idle`.

        Raises:
            CallNotFoundError, CallSettledError: a decision names no open call, or one that never ran.
            SessionBusyError, SessionNotFoundError, ModelError, ...: as `send`.
        """
        session = checked_id(session_id)
        if in_doubt is not None:
            in_doubt = InDoubt(inputs.one_of("in_doubt", in_doubt, tuple(InDoubt)))
        inputs.one_of("if_busy", if_busy, ("wait", "raise"))
        conductor = await self._open(for_turns=True)
        manner = Manner(if_busy=if_busy, in_doubt=in_doubt, stop_event=stop_event)
        return await conductor.resume(session, dict(decisions or {}), manner)

    async def abort_pending(self, session_id: str, *, reason: str = "aborted") -> list[str]:
        """Give up every open call: each is answered once, with the reason; their ids. Needs no model and no tools.

        Afterwards nothing is open, and the next `send` works. With nothing open this changes nothing.

        Raises:
            SessionBusyError: somebody alive drives the session; nothing was changed.
            SessionNotFoundError: there is no such session.
        """
        session = checked_id(session_id)
        why = inputs.short_text("reason", reason)
        store = (await self._open()).store
        return await store.abort_pending(session, why)

    async def resolve(
        self,
        session_id: str,
        call_id: str,
        result: object = inputs.UNSET,
        *,
        error: str | None = None,
        retry: bool = False,
        report: bool = False,
    ) -> None:
        """A person's word about a call in doubt, durable at once: its result, its error, or what the next resume does.

        Raises:
            CallNotFoundError: no such call; nothing is changed.
            CallSettledError: it is settled, or never ran; nothing is changed.
            SessionBusyError: somebody alive drives the session.
        """
        session = checked_id(session_id)
        said = inputs.resolution(result, error, retry=retry, report=report)
        store = (await self._open()).store
        await store.resolve_call(session, inputs.short_text("call_id", call_id), said)

    async def recover(self, policy: Literal["report", "resume", "abort"] = "report") -> list[Recovered]:
        """Take up every session whose owner died; each exactly once, whatever other processes do at the same time.

        `report` writes the interruption down; `abort` gives the open calls up; `resume` goes on with each, all at once. One
        session that fails does not keep the others from being recovered: its error is in its entry.
        """
        inputs.one_of("policy", policy, ("report", "resume", "abort"))
        conductor = await self._open(for_turns=policy == "resume")
        return await conductor.recover(policy)

    async def request_stop(self, session_id: str, *, reason: str = "stop requested") -> bool:
        """Ask whoever drives a session, in any process, to stop; False if nobody does, or somebody asked already."""
        session = checked_id(session_id)
        why = inputs.short_text("reason", reason)
        store = (await self._open()).store
        return await store.request_stop(session, why)

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
        if not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise InputInvalidError("limit", f"is {limit!r}", "give a number from 1 to 10000")
        which = Listing(
            limit=limit,
            archived=archived,
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
        """Every model call, one row each, and their sums."""
        store = (await self._open()).store
        return SessionUsage(tuple(await store.usage(checked_id(session_id), turn)))

    async def archive_session(self, session_id: str, *, archived: bool = True) -> None:
        """Hide a session from listings and sends, or bring it back. Raises `SessionBusyError` while it is driven."""
        session = checked_id(session_id)
        conductor = await self._open()
        await conductor.store.archive_session(session, archived)
        conductor.runner.forget(session)

    async def close_session(self, session_id: str, *, cascade: bool = True) -> list[str]:
        """End a session for good, and with `cascade` those below it; the ids closed. Open calls are aborted.

        It can be read for ever; it takes no more input. Raises `SessionBusyError` if one of them is driven: none is closed.
        """
        session = checked_id(session_id)
        conductor = await self._open()
        closed = await conductor.store.close_session(session, cascade)
        for member in closed:
            conductor.runner.forget(SessionId(member))
        return closed

    async def delete_session(self, session_id: str) -> None:
        """Leave no row of a session, nor of those below it, in any table. Raises `SessionBusyError` while it is driven."""
        session = checked_id(session_id)
        conductor = await self._open()
        await conductor.store.delete_session(session)
        conductor.runner.forget(session)

    async def aclose(self, *, drain: float = 0) -> None:
        """Give running turns `drain` seconds to end, stop the rest (they can be resumed), and close what is ours."""
        self._closed = True
        await self._stop(drain)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, wanted: Input, on_pending: OnPending, manner: Manner) -> StatefulResult:
        inputs.one_of("on_pending", on_pending, ("raise", "resume", "abort"))
        inputs.one_of("if_busy", manner.if_busy, ("wait", "raise"))
        conductor = await self._open(for_turns=True)
        return await conductor.send(wanted, on_pending, manner)

    def _input(self, user_input: object, session_id: object, request_id: object, metadata: object) -> Input:
        body = inputs.user_message(user_input)
        create = self._new_session(None, None, None, None, None) if session_id is None else None
        return Input(
            session=checked_id(session_id) if create is None else create.id,
            body=body,
            request_id=None if request_id is None else inputs.short_text("request_id", request_id),
            metadata=inputs.metadata_text(metadata),
            create=create,
        )

    def _new_session(
        self, session_id: object, system_prompt: object, model: object, metadata: object, parent: object
    ) -> NewSession:
        prompt = self.config.system_prompt if system_prompt is None else system_prompt
        return NewSession(
            id=checked_id(self._world.new_id() if session_id is None else session_id),
            system=None if prompt is None else inputs.system_message(prompt),
            model=None if model is None else inputs.short_text("model", model),
            metadata=inputs.metadata_text(metadata),
            parent=None if parent is None else checked_id(parent),
        )

    async def _open(self, *, for_turns: bool = False) -> Conductor:
        """The open store with all that runs over it. Opened once, whoever is cancelled meanwhile."""
        if self._closed:
            raise LoopClosedError("this loop was closed; build a new one")
        if for_turns and self._llm is None:
            raise NotConfiguredError("a model", "build the loop with llm=...; inspecting and aborting need none")
        if self._opening is None:
            self._opening = asyncio.create_task(self._start(), name="power_loop.open")
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except PowerLoopError:
            if self._opening is opening:
                self._opening = None  # the next call tries again
            raise

    async def _start(self) -> Conductor:
        store = self._given
        if store is None:
            assert self._db_path is not None
            store = await open_store(
                self._db_path,
                create=self._create,
                synchronous=self.config.synchronous,
                busy_timeout=self.config.busy_timeout,
                world=self._world,
            )
        gear = Gear(llm=self._llm, tools=self.tools, config=self.config, world=self._world)
        return Conductor(store, Runner(store, gear, self._sinks), self.config)

    async def _stop(self, drain: float) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return
        try:
            conductor = await uncancelled(opening)
        except PowerLoopError:
            return  # it never opened, and whoever asked for it was told
        await conductor.runner.drain(drain)
        for sink in self._sinks:
            await sink.aclose()
        if self._given is None:
            await conductor.store.aclose()
