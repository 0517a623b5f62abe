"""All that can be done with sessions without a model: made, given up, resolved, folded, archived, closed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from llm_client.service import ChecksMessages, LLMService
from power_loop.compaction.ladder import Strategy
from power_loop.compaction.words import ladder_of
from power_loop.config import AgentLoopConfig
from power_loop.engine.limits import Limits
from power_loop.errors import (
    ConfigError,
    InputInvalidError,
    LoopClosedError,
    NotConfiguredError,
    PowerLoopError,
    WindowTooSmallError,
)
from power_loop.hooks import Hooks
from power_loop.loop.gear import Gear
from power_loop.shielding import uncancelled
from power_loop.sink import Listeners, MessageSink, SinkLimits
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.conductor import Conductor, Manner
from power_loop.stateful_loop.looking import Looking
from power_loop.stateful_loop.runner import Runner
from power_loop.store import SessionStore, open_store
from power_loop.store.contract import NewSession
from power_loop.store.records import CompactionInfo
from power_loop.tools import Tool, ToolRegistry, recall_tool
from power_loop.transcript.measure import tokens
from power_loop.values import SessionId, World
from power_loop.values import session_id as checked_id

LOG = logging.getLogger("power_loop.loop")


class Sessions(Looking):
    """The half of `StatefulAgentLoop` that needs neither model nor tools; it also opens and closes the store."""

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
        sink_limits: SinkLimits | None = None,
        hooks: Hooks | None = None,
        world: World | None = None,
    ) -> None:
        if (db_path is None) == (store is None):
            raise ConfigError(["give either db_path or store"])
        problems = inputs.part_problems(
            {
                "llm": (llm, ("complete", "stream", "replay_reasoning")),
                "store": (store, ("begin_turn", "record")),
                "config": (config, ("fold_at",)),
                "world": (world, ("now", "new_id", "reached")),
                "sinks": (sinks, ("__iter__",)),
                "sink_limits": (sink_limits, ("queued_facts",)),
                "hooks": (hooks, ("at", "decide", "tell")),
            }
        )
        if not problems:
            problems = inputs.part_problems(
                {f"sinks[{number}]": (sink, ("record", "aclose")) for number, sink in enumerate(sinks)}
            )
        if problems:
            raise ConfigError(problems)
        self.config = config or AgentLoopConfig()
        self.tools = ToolRegistry.of(tools)
        self._llm = llm
        self._check_message: Callable[[str], None] | None = None
        checks: object = llm
        if isinstance(checks, ChecksMessages):
            self._check_message = checks.check_message
        self._db_path = db_path
        self._given = store
        self._create = create
        self._world = world or World()
        self._recall = recall_tool
        self._sinks = tuple(sinks)
        self._sink_limits = sink_limits
        self._hooks = Hooks() if hooks is None else hooks
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
        approvals: Mapping[str, str] | None = None,
    ) -> str:
        """Make a session, with an id of yours or a new one; its id. On disk when this returns.

        `system_prompt` and `model` override the configuration's for this session and stay with it; `parent` links it to
        another, with which it is closed and deleted. `approvals` says which calls a person must approve in it: `always`
        or `never` by tool name or pattern, before what the configuration and the tools say.

        Raises:
            SessionExistsError: it is there already; nothing is changed.
            SessionNotFoundError: there is no such parent.
            InputInvalidError: an argument breaks a rule.
        """
        new = self._new_session(session_id, system_prompt, model, metadata, parent, approvals)
        store = (await self._open()).store
        await store.create_session(new)
        return new.id

    async def abort_pending(self, session_id: str, *, reason: str = "aborted", force: bool = False) -> list[str]:
        """Give up every open call: each is answered once, with the reason; their ids. Needs no model and no tools.

        Afterwards nothing is open, and the next `send` works. With nothing open this changes nothing. `force` takes the
        session even from a living owner in another process, one that hangs or is stopped: what that one still writes is
        refused.

        Raises:
            SessionBusyError: somebody alive drives the session; nothing was changed.
            SessionNotFoundError: there is no such session.
        """
        session = checked_id(session_id)
        why = inputs.short_text("reason", reason)
        store = (await self._open()).store
        return await store.abort_pending(session, why, force=force)

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

    async def free_session(self, session_id: str) -> bool:
        """Let a quarantined session be taken up again, its recoveries counted anew; False if it is none."""
        session = checked_id(session_id)
        store = (await self._open()).store
        return await store.free_session(session)

    async def withdraw_input(self, session_id: str, number: int) -> bool:
        """Take a waiting input out of the inbox, whoever sent it; False if no such input waits."""
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
            raise InputInvalidError("number", f"is {number!r}", "give the number of an input, as get_queued() shows it")
        session = checked_id(session_id)
        store = (await self._open()).store
        return await store.withdraw_input(session, number)

    async def compact(
        self,
        session_id: str,
        *,
        strategy: Strategy | str | Sequence[Strategy | str] | None = None,
        if_busy: Literal["wait", "raise"] = "wait",
    ) -> CompactionInfo | None:
        """Fold a session's history now, by the configured strategies or by these; None if there is nothing to fold.

        Marking the folded messages, storing what stands for them and the audit row are one commit; once this returns it
        is on disk, and if the process dies before, nothing has changed. Nothing is held while a model writes a summary:
        should anybody take the session meanwhile, history is as they left it. The system prompt, pinned messages, an
        input without its last answer, open calls and the newest round stay. A closed or archived session is refused.

        Raises:
            CompactionError: every strategy failed (without a model no summary can be had).
            SessionBusyError: a turn runs and `if_busy` is `raise`, or somebody took the session meanwhile.
            SessionNotFoundError, SessionArchivedError, SessionClosedError, InputInvalidError: as they say.
        """
        session = checked_id(session_id)
        inputs.one_of("if_busy", if_busy, ("wait", "raise"))
        strategies = None
        if strategy is not None:
            try:
                strategies = ladder_of(strategy)
            except ValueError as error:
                raise InputInvalidError("strategy", "is none", str(error)) from None
        conductor = await self._open()
        return await conductor.compact(session, strategies, Manner(if_busy=if_busy))

    async def undo_compaction(self, session_id: str, *, if_busy: Literal["wait", "raise"] = "wait") -> CompactionInfo:
        """Put the messages of the latest compaction that stands back in their places, and what stood for them out.

        One commit; nothing is deleted. History is not folded again until the provider has counted it anew, unless the
        window is full by then. Called again, it undoes the compaction before that one.

        Raises:
            CompactionNotFoundError: none stands.
            SessionBusyError, SessionNotFoundError, ...: as `compact`.
        """
        session = checked_id(session_id)
        inputs.one_of("if_busy", if_busy, ("wait", "raise"))
        conductor = await self._open()
        return await conductor.undo_compaction(session, Manner(if_busy=if_busy))

    async def request_stop(self, session_id: str, *, reason: str = "stop requested") -> bool:
        """Ask whoever drives a session, in any process, to stop; False if nobody does, or somebody asked already."""
        session = checked_id(session_id)
        why = inputs.short_text("reason", reason)
        store = (await self._open()).store
        return await store.request_stop(session, why)

    async def archive_session(self, session_id: str, *, archived: bool = True) -> None:
        """Hide a session from listings and sends, or bring it back. Raises `SessionBusyError` while it is driven."""
        session = checked_id(session_id)
        conductor = await self._open()
        await conductor.store.archive_session(session, bool(archived))
        conductor.runner.forget(session)

    async def close_session(self, session_id: str, *, cascade: bool = True) -> list[str]:
        """End a session for good, and with `cascade` those below it; the ids closed. Open calls are aborted.

        It can be read for ever; it takes no more input. Raises `SessionBusyError` if one of them is driven: none is
        closed.
        """
        session = checked_id(session_id)
        conductor = await self._open()
        closed = await conductor.store.close_session(session, cascade)
        for member in closed:
            conductor.runner.forget(SessionId(member))
        return closed

    async def delete_session(self, session_id: str) -> None:
        """Leave no row of a session, nor of those below it, in any table.

        Raises:
            SessionBusyError: somebody alive drives it.
        """
        session = checked_id(session_id)
        conductor = await self._open()
        for gone in await conductor.store.delete_session(session):
            conductor.runner.forget(SessionId(gone))

    async def aclose(self, *, drain: float = 0) -> None:
        """Give running turns `drain` seconds to end, stop the rest (they can be resumed), and close what is ours."""
        drain = inputs.seconds("drain", drain)
        self._closed = True
        await self._stop(drain)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _new_session(
        self,
        session_id: object,
        system_prompt: object = None,
        model: object = None,
        metadata: object = None,
        parent: object = None,
        approvals: object = None,
    ) -> NewSession:
        prompt = self.config.system_prompt if system_prompt is None else system_prompt
        system = None if prompt is None else inputs.system_message(prompt)
        if system is not None:
            self._check_fits(system)
        return NewSession(
            id=checked_id(self._world.new_id() if session_id is None else session_id),
            system=system,
            model=None if model is None else inputs.short_text("model", model),
            metadata=inputs.metadata_text(metadata),
            parent=None if parent is None else checked_id(parent),
            approvals=inputs.approvals_text(approvals),
        )

    def _check_fits(self, pinned: str) -> None:
        """Raises `WindowTooSmallError` for a message that would fill the window for ever."""
        size, limits = tokens(pinned), Limits.of(self.config)
        if limits.surely_over(size):
            raise WindowTooSmallError(size, limits.window)

    async def _open(self, *, for_turns: bool = False) -> Conductor:
        """The open store with all that runs over it. Opened once, whoever is cancelled meanwhile."""
        if self._closed:
            raise LoopClosedError("this loop was closed; build a new one")
        if for_turns and self._llm is None:
            raise NotConfiguredError("a model", "build the loop with llm=...; inspecting and aborting need none")
        if self._opening is None:
            self._opening = asyncio.create_task(self._start(), name="power_loop.open")
            self._opening.add_done_callback(_heard)
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

        async def read(session: str, handle: str, offset: int, limit: int) -> str:
            return (await store.output(SessionId(session), handle))[offset : offset + limit]

        recaller = self._recall(read, self.config.shown_at_once)
        gear = Gear(
            llm=self._llm,
            tools=self.tools,
            config=self.config,
            world=self._world,
            hooks=self._hooks,
            recaller=recaller,
        )
        return Conductor(store, Runner(store, gear, Listeners(self._sinks, self._sink_limits)), self.config)

    async def _stop(self, drain: float) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return
        try:
            conductor = await uncancelled(opening)
        except PowerLoopError:
            return  # it never opened, and whoever asked for it was told
        try:
            await conductor.drain(drain)
        finally:
            await uncancelled(self._give_back(conductor.store, conductor.runner.listeners))

    async def _give_back(self, store: SessionStore, listeners: Listeners) -> None:
        """Close what is ours, all of it, whatever goes wrong with one."""
        await listeners.aclose()
        if self._llm is not None:
            try:
                await self._llm.aclose()
            except Exception:  # an app's own code; the store must be closed all the same
                LOG.exception("%r could not be closed", self._llm)
        if self._given is None:
            await store.aclose()


def _heard(opening: asyncio.Task[Conductor]) -> None:
    """Whoever waits hears why it failed; should nobody wait any more, that is no reason for a warning."""
    if not opening.cancelled():
        opening.exception()
