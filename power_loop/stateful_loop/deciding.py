"""What somebody outside decides about calls that wait: approvals, and results that the host gives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from power_loop.engine.calls import WaitKind
from power_loop.errors import InputInvalidError
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.conductor import Manner
from power_loop.stateful_loop.results import StatefulResult, summed
from power_loop.stateful_loop.sessions import Sessions
from power_loop.store.contract import HostResult, Said, SessionStore
from power_loop.store.records import WaitInfo
from power_loop.tools import ArgumentsInvalid, Tool, encoded
from power_loop.transcript.shorten import shortened
from power_loop.values import SessionId, Status
from power_loop.values import session_id as checked_id


class Deciding(Sessions):
    """The part of `StatefulAgentLoop` for whoever decides. Needs neither model nor tools, nor the session itself."""

    async def approve(
        self,
        session_id: str,
        call_id: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        arguments_hash: str | None = None,
        by: str | None = None,
    ) -> WaitInfo:
        """Let a call run: the next `resume` runs it, once, with exactly the arguments asked about or those given here.

        From any process, in any order, also while a turn runs. On disk when this returns. The same decision once more
        changes nothing; the first of two different ones stands. `arguments` replace what the model wrote (it is told
        so); they are checked here if the tool is registered here, and before it runs in any case. `arguments_hash` is
        the hash of what whoever decides has seen (`WaitInfo.arguments_hash`). An approval is for this call only.

        Raises:
            CallNotFoundError: no such call.
            CallSettledError: it has run, was given up, or waits for nobody's approval.
            ApprovalDecidedError, ApprovalExpiredError, ApprovalChangedError: as they say.
            InputInvalidError: an argument breaks a rule. None of these has changed anything.
        """
        session, call = checked_id(session_id), inputs.short_text("call_id", call_id)
        seen = None if arguments_hash is None else inputs.short_text("arguments_hash", arguments_hash)
        changed = None if arguments is None else await self._changed(session, call, arguments)
        said = Said(approved=True, by=_name(by), arguments=changed, seen=seen)
        store = (await self._open()).store
        return await store.decide_approval(session, call, said)

    async def deny(
        self, session_id: str, call_id: str, reason: str | None = None, *, by: str | None = None
    ) -> WaitInfo:
        """Keep a call from running, for good: the model is told so, with the reason. As `approve` otherwise."""
        session, call = checked_id(session_id), inputs.short_text("call_id", call_id)
        why = None if reason is None else inputs.short_or_long("reason", reason)
        store = (await self._open()).store
        return await store.decide_approval(session, call, Said(approved=False, by=_name(by), reason=why))

    async def get_approvals(self, session_id: str | None = None, *, decided: bool = False) -> list[WaitInfo]:
        """What waits for a person's approval, in one session or in all; with `decided` also what was decided before."""
        return [wait for wait in await self.get_waits(session_id, decided=decided) if wait.kind == "approval"]

    async def submit_results(
        self,
        session_id: str,
        results: Mapping[str, object] | None = None,
        *,
        errors: Mapping[str, str] | None = None,
        go_on: bool | None = None,
    ) -> StatefulResult:
        """Give the results of calls that are the host's, by their ids, and go on with the turn; how that ended.

        All of them are stored in one commit before anything else happens, or none; the same result once more changes
        nothing. `errors` are results that tell the model what went wrong. With `go_on` the turn goes on as by `resume`
        (None: if this loop has a model); else the result says where the session stands, and `resume` goes on later.

        Raises:
            CallNotFoundError, CallSettledError: one of the ids is no call that waits for a result; nothing is changed.
            InputInvalidError: no result is given, or one breaks a rule of its tool; nothing is changed.
            ModelError, ...: as `resume`; the results are stored.
        """
        session = checked_id(session_id)
        given = await self._results(session, results, errors)
        conductor = await self._open(for_turns=bool(go_on))
        await conductor.store.submit_results(session, given)
        if go_on or (go_on is None and self._llm is not None):
            return await conductor.resume(session, {}, Manner())
        return await self._standing(conductor.store, session)

    async def _standing(self, store: SessionStore, session: SessionId) -> StatefulResult:
        """Where a session stands, as a result."""
        info = await store.session_info(session)
        return StatefulResult(
            session_id=session,
            turn=info.turns,
            status=Status(info.status or Status.INTERRUPTED),
            final_text="",
            usage=summed(await store.usage(session, info.turns)),
            pending_tool_calls=info.pending,
            context_left=info.context_left,
            stop_reason=info.stop_reason,
        )

    async def _results(self, session: SessionId, results: object, errors: object) -> dict[str, HostResult]:
        given: dict[str, HostResult] = {}
        for what, said in (("results", results), ("errors", errors)):
            if said is not None and not isinstance(said, Mapping):
                raise InputInvalidError(what, f"is a {type(said).__name__}", "give a dict from call ids to results")
        waits = await self.get_waits(session, decided=True)
        waiting = {wait.call_id: wait for wait in waits if wait.kind == WaitKind.RESULT}
        wrong = errors if isinstance(errors, Mapping) else {}
        for call_id, text in wrong.items():
            call = inputs.short_text("a call id in errors", call_id)
            content = f"Error: {inputs.short_or_long(f'errors[{call!r}]', text)}"
            given[call] = await self._in_short(content, waiting.get(call), failed=True)
        right = results if isinstance(results, Mapping) else {}
        for call_id, value in right.items():
            call = inputs.short_text("a call id in results", call_id)
            if call in given:
                raise InputInvalidError("results", f"and errors both name {call}", "give one result for each call")
            wait = waiting.get(call)
            content = encoded(value if wait is None else self._checked(wait, value))
            given[call] = await self._in_short(content, wait)
        if not given:
            raise InputInvalidError("results", "are empty", "give the result of at least one call")
        return given

    async def _in_short(self, content: str, wait: WaitInfo | None, *, failed: bool = False) -> HostResult:
        """A result with what the model is shown of it, where it is too long to be shown at once."""
        gear = (await self._open()).runner.gear
        tool = None if wait is None else gear.tool(wait.name)
        limit = gear.shown_at_once(tool)
        if limit is None or len(content) <= limit:
            return HostResult(content=content, failed=failed)
        part = await asyncio.to_thread(shortened, gear.shortener(tool), content, limit)
        return HostResult(content=content, part=None if part == content else part, failed=failed)

    def _checked(self, wait: WaitInfo, value: object) -> object:
        """A result as the tool takes it, where the tool is registered here and has a rule for results."""
        tool = self.tools.get(wait.name)
        if tool is None or tool.check_result is None:
            return value
        try:
            return tool.check_result(dict(tool.arguments(wait.arguments).values), value)
        except ArgumentsInvalid:
            return value  # the arguments are from before the tool took others; nothing is left to hold the result to
        except ValueError as error:
            raise InputInvalidError(
                f"results[{wait.call_id!r}]", f"is none: {error}", "answer as the call asks"
            ) from None

    async def _changed(self, session: SessionId, call_id: str, arguments: object) -> str:
        """The JSON text of arguments to run instead of the model's, checked if the tool is here."""
        text = inputs.object_text("arguments", arguments)
        wait = next((one for one in await self.get_waits(session, decided=False) if one.call_id == call_id), None)
        tool: Tool | None = None if wait is None else self.tools.get(wait.name)
        if tool is not None:
            try:
                tool.arguments(text)
            except ArgumentsInvalid as error:
                problems = "; ".join(error.problems)
                raise InputInvalidError("arguments", f"do not fit {tool.name}: {problems}", "mend them") from None
        return text

    async def get_waits(self, session_id: str | None = None, *, decided: bool = False) -> list[WaitInfo]:
        """What calls wait for somebody outside with, approvals and results of the host, as `get_approvals`."""
        store = (await self._open()).store
        return await store.waits(None if session_id is None else checked_id(session_id), decided=decided)


def _name(by: str | None) -> str | None:
    return None if by is None else inputs.short_text("by", by)
