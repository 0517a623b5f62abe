"""`StatefulAgentLoop`: sessions that survive anything, from an async app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from power_loop.errors import LoopClosedError, SessionPendingError
from power_loop.events import Event, Feed
from power_loop.loop.structured import OutputSpec
from power_loop.shielding import uncancelled
from power_loop.stateful_loop import inputs
from power_loop.stateful_loop.admitting import admitted
from power_loop.stateful_loop.conductor import IfBusy, Manner, OnPending
from power_loop.stateful_loop.deciding import Deciding
from power_loop.stateful_loop.following import Following
from power_loop.stateful_loop.recovery import Policy, Recovered, Recovery, checked_policy
from power_loop.stateful_loop.results import StatefulResult
from power_loop.stateful_loop.runner import note_lost
from power_loop.stateful_loop.watch import StopEvent
from power_loop.store.contract import Input
from power_loop.values import InDoubt
from power_loop.values import session_id as checked_id


class StatefulAgentLoop(Deciding, Following):
    """A crash-safe agent: `async with StatefulAgentLoop(...) as loop: await loop.send("hello")`.

    `llm` and `tools` may be absent: inspecting, aborting and resolving need neither. The store is the SQLite file at
    `db_path`, opened at the first use, or a `store` of yours, which stays yours to close. `create`: None makes a
    missing file, True also begins anew in one of 0 bytes, False wants a database that is there. `hooks` are asked and
    told at the points of every turn. Bound to one event loop.

    Every method raises only `PowerLoopError`s, each with a stable `code`, and where it raises before a turn began,
    nothing was written.

    Raises:
        ConfigError: neither or both of `db_path` and `store` are given.
        ToolDefinitionError: a tool is no tool, or two share a name.
    """

    async def send(
        self,
        user_input: inputs.UserInput,
        session_id: str | None = None,
        *,
        request_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        pin: bool = False,
        output: object = None,
        on_pending: OnPending = "raise",
        if_busy: IfBusy = "wait",
        stop_event: StopEvent | None = None,
    ) -> StatefulResult:
        """Send an input and run the turn it begins; how that ended.

        The input is on its way to stable storage when the model is asked; every input, answer, call and result is there
        before a tool runs or anybody hears of it. If the process dies, a fresh one finds the session as `get_session`
        and `get_pending` show it.

        Without `session_id` a new session is made, in the same commit as the input; with a `request_id` its id comes
        from that, so that the same request finds it again. A `request_id` names the input: the same id again never
        stores it twice; it returns the stored outcome once that turn was answered, and otherwise goes on from where the
        session stands. If calls of an earlier turn are open, `on_pending` says whether to refuse, to resume them first,
        or to abort them in the commit that stores the input. If another turn runs, `if_busy` says what becomes of the
        input: `raise` refuses it; `wait` stores it in the session's inbox at once, and it becomes the next turn, in the
        order of arrival; `steer` stores it too, and the running turn takes it in before its next request to the model
        (this call then returns that turn's outcome), or, if the turn ends first, it becomes the next one. An input in
        the inbox survives its sender: `resume` and `recover` take it up. A sender that is cancelled, or refused after
        all, takes it out again. With `pin` the input stays in the model's context for ever: no compaction folds it.
        Cancelling this call stops the turn: it is recorded as cancelled before the cancellation goes through.

        `output` (a pydantic model, a dataclass, a TypedDict) is what the last word is to be: the endpoint is asked for
        that shape, the answer checked, and asked for once more with what is wrong with it; the result has the object in
        `output`. A call of a tool that ends the turn (`complete_tool`) puts there what that gave.

        Raises:
            SessionNotFoundError, SessionArchivedError, SessionClosedError: it takes no input. Nothing was written.
            SessionPendingError: calls are open and `on_pending` is `raise`. Nothing was written.
            SessionBusyError: another turn runs and `if_busy` is `raise`. Nothing was written.
            InputInvalidError, NotConfiguredError: an argument breaks a rule, a hook refuses the input, or there is no
                model. Nothing was written.
            WindowTooSmallError: an input to pin, or a new session's system prompt, is larger than the window: nothing
                was written. Or all that must stay is: the input stays.
            ModelCapabilityError: the endpoint takes no such parts. Nothing was written.
            OutputInvalidError: the second answer too is not the `output` asked for, or is empty. The input stays.
            ModelError: no answer could be had. The input stays; `resume` asks again. With `on_pending="resume"` it may
                be the resumed turn that failed: then the input is not stored yet (`get_turns` tells).
            EpochLostError: another process took the session over; what it did stands, what this one had left to do does
                not.
            StoreError: the store refused.
        """
        wanted = self._input(user_input, session_id, request_id, metadata, pin)
        return await self._send(
            wanted, on_pending, Manner(if_busy=if_busy, stop_event=stop_event, output=_output(output))
        )

    async def stream(
        self,
        user_input: inputs.UserInput,
        session_id: str | None = None,
        *,
        request_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        pin: bool = False,
        output: object = None,
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
        wanted = self._input(user_input, session_id, request_id, metadata, pin)
        manner = Manner(if_busy=if_busy, stop_event=stop_event, listener=feed.publish, output=_output(output))
        sending = asyncio.create_task(self._send(wanted, on_pending, manner))
        sending.add_done_callback(lambda task: _ended(task, feed))
        try:
            async for event in feed:
                yield event
            yield await sending
        finally:
            if not sending.done():
                sending.cancel()
                await uncancelled(asyncio.wait([sending]))
                note_lost(sending)

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
            raise LoopClosedError(
                "the store belongs to an event loop; send_sync() needs a loop made with db_path alone"
            )

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
        output: object = None,
        if_busy: IfBusy = "wait",
        force: bool = False,
        stop_event: StopEvent | None = None,
    ) -> StatefulResult:
        """Go on from where an interrupted, failed, stopped or waiting turn stands, as a turn of its own.

        Calls that never ran run, through the same checks, limits and events as in a live turn. Calls that were running
        run again if their tool is `read` or `idempotent`, under the same idempotency key; a `once` call in doubt is
        reconciled by its tool, or else treated as `in_doubt` (the configuration's, unless given here) or this call's
        entry in `decisions` says: `retry`, `report`, `abort`. What was approved runs, what was denied or has expired is
        told to the model; where nobody has decided anything yet, nothing happens. Then the model is asked again.
        `output` is as in `send`: what its turn was to give is not stored.

        `force` takes the session even from a living owner in another process, one that hangs or is stopped: whatever
        that one still writes is refused.

        With nothing to go on from, no model is called: the result is the last turn's, with `stop_reason` `idle`.

        Raises:
            CallNotFoundError, CallSettledError: a decision names no open call, or one that never ran.
            SessionBusyError, SessionNotFoundError, ModelError, ...: as `send`.
        """
        session = checked_id(session_id)
        if in_doubt is not None:
            in_doubt = InDoubt(inputs.one_of("in_doubt", in_doubt, tuple(InDoubt)))
        inputs.one_of("if_busy", if_busy, ("wait", "raise"))
        inputs.stop_event(stop_event)
        wanted = inputs.decisions(decisions)
        conductor = await self._open(for_turns=True)
        manner = Manner(if_busy=if_busy, in_doubt=in_doubt, stop_event=stop_event, force=force, output=_output(output))
        return await conductor.resume(session, wanted, manner)

    async def recover(self, policy: Policy = "report", *, jitter: float | None = None) -> list[Recovered]:
        """Take up every session whose owner died; each exactly once, whatever other processes do at the same time.

        `report` writes the interruption down; `abort` gives the open calls up; `resume` goes on with each, a bounded
        number at a time, and with inputs that the dead left waiting. `policy` is one of these words, or a word a tool:
        `{"*": "resume", "send_invoice": "report"}`; `"*"` (else `report`) is for all others and for sessions without
        open calls, and where the tools of one session differ, `report` goes before `abort` before `resume`.

        Beginnings are spread over `jitter` seconds by chance; None: 20 ms a session, at most 5 s. Every resumption is
        counted before it is made; after `max_recoveries` without progress (a call that gave a result, a turn that came
        to its end) the session is quarantined instead: `resume` refuses it with `SessionQuarantinedError` until
        `free_session`, `abort_pending` or a new input. Sessions that a recovery died over before are resumed alone,
        after the others, so that they drag none with them.

        One session that fails does not keep the others from being recovered: its error is in its entry.
        """
        checked = checked_policy(policy)
        spread = None if jitter is None else inputs.seconds("jitter", jitter)
        words = {checked} if isinstance(checked, str) else set(checked.values())
        conductor = await self._open(for_turns="resume" in words)
        return await Recovery(conductor, self._world, checked, spread).run()

    async def _send(self, wanted: Input, on_pending: OnPending, manner: Manner) -> StatefulResult:
        inputs.one_of("on_pending", on_pending, ("raise", "resume", "abort"))
        inputs.one_of("if_busy", manner.if_busy, ("wait", "raise", "steer"))
        inputs.stop_event(manner.stop_event)
        wanted = await admitted(self._hooks, wanted)
        if wanted.pinned:
            self._check_fits(wanted.body)
        if self._check_message is not None:
            self._check_message(wanted.body)  # stored, it would stand in the way of every later request
        if self._llm is None and wanted.create is None:
            # What stands in the way of any send is said first; it can be cleared without a model.
            pending = await self.get_pending(wanted.session)
            if pending and on_pending == "raise":
                raise SessionPendingError(wanted.session, pending)
        conductor = await self._open(for_turns=True)
        return await conductor.send(wanted, on_pending, manner)

    def _input(
        self, user_input: object, session_id: object, request_id: object, metadata: object, pin: object
    ) -> Input:
        body = inputs.user_message(user_input)
        request = None if request_id is None else inputs.short_text("request_id", request_id)
        own = None if request is None else inputs.session_of_request(request)
        create = self._new_session(own) if session_id is None else None
        return Input(
            session=checked_id(session_id) if create is None else create.id,
            body=body,
            request_id=request,
            metadata=inputs.metadata_text(metadata),
            pinned=bool(pin),
            create=create,
        )


def _output(given: object) -> OutputSpec | None:
    return None if given is None else OutputSpec.of(given)


def _ended(sending: asyncio.Task[StatefulResult], feed: Feed) -> None:
    """The stream is over. Whoever still reads it hears how; should nobody, that is no reason for a warning."""
    if not sending.cancelled():
        sending.exception()
    feed.end()
