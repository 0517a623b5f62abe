"""One round's work: calls are checked, durably started, run, and their outcomes recorded as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from llm_client.messages import ToolMessage, wire
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy, idempotency_key
from power_loop.engine.recover import Verdict, in_doubt
from power_loop.engine.snapshot import CallView
from power_loop.events.live import ToolProgress
from power_loop.loop.outputs import in_short
from power_loop.loop.stop import give_up
from power_loop.loop.turn import Turn
from power_loop.tools import (
    Arguments,
    ArgumentsInvalid,
    Done,
    NotDone,
    Tool,
    ToolContext,
    Unknown,
    ask_reconcile,
    encoded,
    invoke,
)
from power_loop.values import cleaned

T = TypeVar("T")

MAX_ERROR_CHARS: Final = 4_000
"""Of an exception's text, what the model is shown."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call that passed every gate."""

    call: CallView
    tool: Tool
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: CallState
    text: str


async def act(turn: Turn, batch: Sequence[tuple[CallView, Verdict]]) -> None:
    """Take up calls together: each is run, reconciled or reported, and those that ended have their results.

    Before a function is entered its call is `started` on disk. If the process dies before an outcome is committed, the
    call is found so at the next open, and `engine.recover` decides.

    Raises:
        Stopped: somebody stopped the turn; calls that were running stay `started`, in doubt.
        EpochLostError: another process took the session over; nothing more is recorded.
    """
    ready = []
    for call, verdict in batch:
        if verdict is Verdict.REPORT or (verdict is Verdict.RECONCILE and not await _reconciled(turn, call)):
            await _report_or_leave(turn, call, verdict)
        elif _is_open(turn, call) and (passed := await _gated(turn, call)):
            ready.append(passed)
    if ready:
        await turn.record(f.CallsStarted(**turn.stamp, calls=tuple(item.call.key for item in ready)))
        turn.gear.world.reached("loop.calls_started")
        await _run(turn, ready)


async def _run(turn: Turn, ready: Sequence[_Ready]) -> None:
    """Run started calls, all at once, and record each outcome as it comes."""
    running = {asyncio.create_task(_outcome(turn, item), name=f"call {item.call.id}"): item for item in ready}
    try:
        while running:
            done = await turn.stop.first(running)
            for task in done:
                outcome, item = task.result(), running.pop(task)
                turn.gear.world.reached("loop.call_returned")
                # What came in together is one commit; while others run, nothing waits for longer than that.
                hold = not running or task is not done[-1]
                await _settle(turn, item.call, outcome, SettledBy.RUN, hold=hold)
    except BaseException:
        await give_up(running)
        raise


async def _outcome(turn: Turn, ready: _Ready) -> _Outcome:
    """Run one call to its end or its time limit. Never raises but by cancellation."""
    tool = ready.tool
    limit = turn.gear.config.tool_timeout if tool.timeout is None else tool.timeout
    work = invoke(tool, ready.arguments, _context(turn, ready.call, ready.call.attempt + 1))
    try:
        return _Outcome(CallState.SUCCEEDED, encoded(await (work if limit is None else _within(limit, work))))
    except _TooLong:
        return _Outcome(
            CallState.TIMED_OUT,
            f"Error: {tool.name} gave no result within {limit:g} s and was stopped; "
            "what it was doing may have happened fully, partly or not at all.",
        )
    except Exception as error:  # noqa: BLE001 - a tool may raise anything; the model is told
        return _Outcome(CallState.FAILED, f"Error: {_described(error)}")


class _TooLong(Exception):  # noqa: N818 - a signal, not an error
    """A call took longer than its tool may. No `TimeoutError`: the tool itself may raise one."""


async def _within(limit: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is left behind if it goes on after its cancellation."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        await give_up([task])
        raise
    if not task.done():
        await give_up([task])
        raise _TooLong
    return task.result()


async def _reconciled(turn: Turn, call: CallView) -> bool:
    """Ask the tool what became of a call in doubt. False if nobody can tell: then the policy decides."""
    tool = turn.gear.tool(call.name)
    assert tool is not None
    try:
        arguments = tool.arguments(call.arguments)
    except ArgumentsInvalid:
        return False
    await turn.flush()  # asking may take long: what is known by now is recorded first
    said = await turn.stop.run(ask_reconcile(tool, arguments, _context(turn, call, call.attempt)))
    if isinstance(said, Done):
        await _settle(turn, call, _Outcome(CallState.SUCCEEDED, encoded(said.result)), SettledBy.RECONCILE)
    return isinstance(said, Done | NotDone) and not isinstance(said, Unknown)


async def _report_or_leave(turn: Turn, call: CallView, verdict: Verdict) -> None:
    """Tell the model that an outcome is unknown; or leave the call to the policy, now that its tool could not tell."""
    if verdict is Verdict.RECONCILE and in_doubt(turn.limits.in_doubt) is not Verdict.REPORT:
        turn.cannot_reconcile(call.key)
        return
    text = (
        f"[outcome unknown] {call.name} was cut off while it was running. The call may have happened fully, "
        "partly or not at all. Check what happened before you repeat it."
    )
    await _settle(turn, call, _Outcome(CallState.REPORTED, text), SettledBy.REPORT)


async def _gated(turn: Turn, call: CallView) -> _Ready | None:
    """The call, if its tool is there and takes its arguments; else it never runs, and its result is what is wrong."""
    tool = turn.gear.tool(call.name)
    if tool is None:
        offered = ", ".join(turn.gear.tools.names) or "none"
        await _refuse(turn, call, f"Error: there is no tool named {call.name}. There are: {offered}.")
        return None
    if call.changed:
        await _refuse(
            turn,
            call,
            f"Error: {tool.name} takes other arguments by now than when this call was made, so it was not run. "
            "Call it again as it is described now.",
        )
        return None
    try:
        return _Ready(call, tool, tool.arguments(call.arguments))
    except ArgumentsInvalid as error:
        await _refuse(turn, call, f"Error: {error}")
        return None


async def _refuse(turn: Turn, call: CallView, text: str) -> None:
    if call.attempt:
        text += " The call was started before; it may have happened fully, partly or not at all."
    await _settle(turn, call, _Outcome(CallState.FAILED, text), SettledBy.GATE)


async def _settle(turn: Turn, call: CallView, outcome: _Outcome, by: SettledBy, *, hold: bool = True) -> None:
    """Record a result, whole if the model is shown a part of it, and the end of the round with the last one.

    `hold` lets it wait for the commit of whatever comes next; only where nothing else runs meanwhile. The last one is
    under way when this returns: the model may be asked what to do with the results.
    """
    seq = call.key.seq + 1 + call.key.ordinal
    ran = by in (SettledBy.RUN, SettledBy.RECONCILE)
    shown, output = await in_short(turn, call, seq, outcome.text, ran=ran)
    body = wire(ToolMessage(content=shown, tool_call_id=call.id))
    facts: list[f.Fact] = [
        f.CallSettled(
            **turn.stamp,
            key=call.key,
            state=outcome.state,
            settled_by=by,
            message=f.NewMessage(seq=seq, role="tool", body=body),
            output=output,
        )
    ]
    last = len(turn.snapshot.calls) == 1
    if last:
        facts.append(f.RoundClosed(**turn.stamp, round=turn.snapshot.rounds))
    await turn.record(*facts, hold=hold and not last, ahead=last)


def _is_open(turn: Turn, call: CallView) -> bool:
    return any(view.key == call.key for view in turn.snapshot.calls)


def _context(turn: Turn, call: CallView, attempt: int) -> ToolContext:
    loop = asyncio.get_running_loop()

    def tell(progress: object) -> None:
        loop.call_soon_threadsafe(turn.publish, ToolProgress(call.id, call.name, progress))  # type: ignore[arg-type]

    return ToolContext(
        session_id=turn.session,
        call_id=call.id,
        idempotency_key=idempotency_key(turn.session, turn.born, call.key),
        attempt=attempt,
        listener=tell,
    )


def _described(error: BaseException) -> str:
    text = cleaned(f"{type(error).__name__}: {error}")
    return text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]} [...]"
