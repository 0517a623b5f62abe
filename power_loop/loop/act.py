"""One round's work: calls are checked, durably started, run, and their outcomes recorded as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llm_client.messages import ToolMessage, parse, text_of, wire
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.engine.recover import Verdict, in_doubt
from power_loop.engine.snapshot import CallView
from power_loop.loop.hooked_calls import (
    Again,
    batch_denied,
    before_call,
    has_ended,
    looked_at,
    looked_at_unrun,
    run_call,
    runs_with,
    told_of_change,
)
from power_loop.loop.outputs import in_short
from power_loop.loop.passed import Refused
from power_loop.loop.running import Outcome, Ready, context_of
from power_loop.loop.stop import Stopped, give_up
from power_loop.loop.turn import Ending, Turn
from power_loop.loop.watching import seen_call
from power_loop.tools import ArgumentsInvalid, Done, NotDone, Unknown, ask_reconcile, encoded
from power_loop.values import Status


async def act(turn: Turn, batch: Sequence[tuple[CallView, Verdict]]) -> None:
    """Take up calls together: each is run, reconciled or reported, and those that ended have their results.

    Before a function is entered its call is `started` on disk. If the process dies before an outcome is committed, the
    call is found so at the next open, and `engine.recover` decides.

    Raises:
        Stopped: somebody stopped the turn; calls that were running stay `started`, in doubt.
        EpochLostError: another process took the session over; nothing more is recorded.
    """
    ready: list[Ready] = []
    for call, verdict in batch:
        if verdict is Verdict.REPORT or (verdict is Verdict.RECONCILE and not await _reconciled(turn, call)):
            await _report_or_leave(turn, call, verdict)
        elif _is_open(turn, call) and (passed := await _gated(turn, call)):
            ready.append(passed)
        turn.passed.check()
    await _hand_over(turn, [item for item in ready if item.tool.external])
    if ours := [item for item in ready if not item.tool.external]:
        await turn.record(f.CallsStarted(**turn.stamp, calls=tuple(item.call.key for item in ours)))
        turn.gear.world.reached("loop.calls_started")
        await _run(turn, ours)


async def _hand_over(turn: Turn, calls: Sequence[Ready]) -> None:
    """Calls whose result the host gives: from here on they wait for it, on disk with whatever comes next."""
    if calls:
        waits = tuple(f.Wait(key=item.call.key, arguments=runs_with(item.call)) for item in calls)
        await turn.record(f.ResultsAwaited(**turn.stamp, calls=waits), hold=True)


async def _run(turn: Turn, ready: Sequence[Ready]) -> None:
    """Run started calls, all at once, and record each outcome as it comes."""
    running = {asyncio.create_task(run_call(turn, item), name=f"call {item.call.id}"): item for item in ready}
    try:
        while running:
            done = await turn.stop.first(running)
            for task in done:
                outcome, item = task.result(), running.pop(task)
                turn.gear.world.reached("loop.call_returned")
                if isinstance(outcome, Again):
                    running |= await _again(turn, item, outcome)
                    continue
                # What came in together is one commit; while others run, nothing waits for longer than that.
                hold = not running or task is not done[-1]
                await _settle(turn, item.call, outcome, SettledBy.RUN, hold=hold)
    except Stopped:
        await give_up(running)
        for task, item in running.items():  # those whose results hooks were looking at
            if task.done() and not task.cancelled() and isinstance(outcome := task.result(), Outcome):
                await _settle(turn, item.call, outcome, SettledBy.RUN)
        raise
    except BaseException:
        await give_up(running)
        raise


async def _again(
    turn: Turn, item: Ready, again: Again
) -> dict[asyncio.Task[Outcome] | asyncio.Task[Outcome | Again], Ready]:
    """Start a call once more; or end it, where the turn is to stop."""
    if turn.stop.requested or turn.passed.stop is not None:
        return {asyncio.create_task(looked_at(turn, item.call, again.outcome)): item}
    await turn.record(f.CallsStarted(**turn.stamp, calls=(item.call.key,)))
    turn.gear.world.reached("loop.calls_started")
    return {asyncio.create_task(run_call(turn, again.ready), name=f"call {item.call.id}"): again.ready}


async def _reconciled(turn: Turn, call: CallView) -> bool:
    """Ask the tool what became of a call in doubt. False if nobody can tell: then the policy decides."""
    tool = turn.gear.tool(call.name)
    assert tool is not None
    try:
        arguments = tool.arguments(runs_with(call))
    except ArgumentsInvalid:
        return False
    await turn.flush()  # asking may take long: what is known by now is recorded first
    said = await turn.stop.run(ask_reconcile(tool, arguments, context_of(turn, call, call.attempt)))
    if isinstance(said, Done):
        await _settle(turn, call, Outcome(CallState.SUCCEEDED, encoded(said.result)), SettledBy.RECONCILE)
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
    await _settle(turn, call, Outcome(CallState.REPORTED, text), SettledBy.REPORT)


async def _gated(turn: Turn, call: CallView) -> Ready | None:
    """The call, if its tool is there and takes its arguments; else it never runs, and its result is what is wrong."""
    if (denied := batch_denied(turn, call)) is not None:
        await _refuse(turn, call, denied.text, denied.state)
        return None
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
    if turn.stepping is not None and not call.attempt:
        stepping = turn.stepping
        if (no := stepping.steps.refusal(stepping.state, call.name, turn.gear.tools.names)) is not None:
            await _refuse(turn, call, f"[denied] {no}", CallState.DENIED)
            return None
    try:
        ready = Ready(call, tool, tool.arguments(runs_with(call)))
    except ArgumentsInvalid as error:
        await _refuse(turn, call, f"Error: {error}")
        return None
    guarded = await before_call(turn, ready)
    if isinstance(guarded, Refused):
        await _refuse(turn, call, guarded.text, guarded.state)
        return None
    return guarded


async def _refuse(turn: Turn, call: CallView, text: str, state: CallState = CallState.FAILED) -> None:
    if call.attempt:
        text += " The call was started before; it may have happened fully, partly or not at all."
    await _settle(turn, call, Outcome(state, text), SettledBy.GATE)


async def _settle(turn: Turn, call: CallView, outcome: Outcome, by: SettledBy, *, hold: bool = True) -> None:
    """Record a result, whole if the model is shown a part of it, and the end of the round with the last one.

    `hold` lets it wait for the commit of whatever comes next; only where nothing else runs meanwhile. The last one is
    under way when this returns: the model may be asked what to do with the results.
    """
    outcome = await looked_at_unrun(turn, call, outcome, by)
    has_ended(turn, call, outcome)
    seq = call.key.seq + 1 + call.key.ordinal
    ran = by in (SettledBy.RUN, SettledBy.RECONCILE)
    shown, output = await in_short(turn, call, seq, outcome.text, ran=ran)
    body = wire(ToolMessage(content=told_of_change(turn, call, shown), tool_call_id=call.id))
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
    if turn.stepping is not None:
        seen = seen_call(call.name, call.arguments, outcome.text, outcome.state)
        if (memory := turn.stepping.settled(call.key, seen)) is not None:
            facts.append(f.RulesRemembered(**turn.stamp, memories=(memory,)))
    if call.ends and outcome.state is CallState.SUCCEEDED:
        await _complete(turn, call, outcome, facts)
        return
    last = len(turn.snapshot.calls) == 1
    if last:
        facts.append(f.RoundClosed(**turn.stamp, round=turn.snapshot.rounds))
    await turn.record(*facts, hold=hold and not last, ahead=last)


async def _complete(turn: Turn, call: CallView, outcome: Outcome, facts: Sequence[f.Fact]) -> None:
    """The turn ends with this call, in the commit of its result; others that would end it do not run any more."""
    late = [
        _settled(turn, other, f"[denied] The turn ended with call {call.id}. This one did not run.")
        for other in turn.snapshot.calls
        if other.key != call.key
    ]
    reason = f"{call.name} was called"
    await turn.record(
        *facts,
        *late,
        f.RoundClosed(**turn.stamp, round=turn.snapshot.rounds),
        f.TurnCompleted(**turn.stamp, answer_seq=call.key.seq, stop_reason=reason),
    )
    turn.output = outcome.value
    answer, _ = turn.view.last_answer()
    turn.ending = Ending(Status.COMPLETED, reason, text_of(parse(answer.wire, None).content) or outcome.text)


def _settled(turn: Turn, call: CallView, text: str) -> f.CallSettled:
    """A call that is denied without having run."""
    body = wire(ToolMessage(content=text, tool_call_id=call.id))
    message = f.NewMessage(seq=call.key.seq + 1 + call.key.ordinal, role="tool", body=body)
    return f.CallSettled(**turn.stamp, key=call.key, state=CallState.DENIED, settled_by=SettledBy.GATE, message=message)


def _is_open(turn: Turn, call: CallView) -> bool:
    return any(view.key == call.key for view in turn.snapshot.calls)
