"""The points at which hooks see calls: together, before each run, when one failed, before its result is stored."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import TypedDict

import power_loop.hooks as h
from power_loop.engine.calls import CallState, SettledBy, edited
from power_loop.engine.snapshot import CallView
from power_loop.hooks.points import CallStartVerdict
from power_loop.loop.hooking import passed, passed_at_result, where
from power_loop.loop.passed import Refused
from power_loop.loop.running import Outcome, Ready, outcome_of
from power_loop.loop.turn import Turn
from power_loop.tools import ArgumentsInvalid, Tool
from power_loop.values import Effect


@dataclass(frozen=True, slots=True)
class Again:
    """A call that failed, and that a guard wants run once more."""

    ready: Ready
    outcome: Outcome
    """How it ended so far."""


async def batch_start(turn: Turn) -> None:
    """Once an answer, before its calls are taken up; on resume those that never ran and wait for nobody.

    Raises:
        Stopped: a guard says so; they stay open.
    """
    hooks, memory, calls = turn.gear.hooks, turn.passed, turn.snapshot.calls
    if not (hooks.at(h.BATCH_START) or hooks.at(h.BATCH_END)) or calls[0].key.seq == memory.batch_seq:
        return
    batch = {call.key: _asked(call) for call in calls if call.state is CallState.REQUESTED}
    memory.batch_seq, memory.batch, memory.ended, memory.denial = calls[0].key.seq, batch, {}, None
    if batch and hooks.at(h.BATCH_START):
        view = h.BatchStart(**where(turn), calls=tuple(batch.values()))
        ruling = await passed(turn, h.BATCH_START, view)
        if isinstance(ruling.verdict, h.Deny):
            memory.denial = ruling.verdict.reason


async def batch_end(turn: Turn) -> None:
    """Once the calls that were taken up together have their results; not where none of them was to run."""
    memory = turn.passed
    batch, memory.batch = memory.batch, {}
    if batch and memory.denial is None and batch.keys() <= memory.ended.keys() and turn.gear.hooks.at(h.BATCH_END):
        calls = tuple(memory.ended[key] for key in batch)
        await passed(turn, h.BATCH_END, h.BatchEnd(**where(turn, turn.snapshot.rounds), calls=calls))


def batch_denied(turn: Turn, call: CallView) -> Refused | None:
    """What a guard said of the batch this call is of, if it may not run."""
    memory = turn.passed
    return None if memory.denial is None or call.key not in memory.batch else _denied(call, memory.denial)


async def before_approval(turn: Turn, call: CallView, tool: Tool | None) -> CallView | None:
    """The call as guards let it run, which is what a person is asked about; None: it needs nobody any more."""
    if batch_denied(turn, call) is not None:
        return None
    if tool is None or call.changed or not turn.gear.hooks.at(h.CALL_START):
        return call
    try:
        ready = Ready(call, tool, tool.arguments(call.arguments))
    except ArgumentsInvalid:
        return call
    found = await before_call(turn, ready)
    if isinstance(found, Refused):
        turn.passed.ruled[call.key] = found
        return None
    turn.passed.ruled[call.key] = text = runs_with(found.call)
    return replace(call, arguments=text)


async def before_call(turn: Turn, ready: Ready) -> Ready | Refused:
    """`CALL_START`: with what the call is to run, or why it does not.

    Raises:
        Stopped: a guard says so; it stays open.
    """
    if not turn.gear.hooks.at(h.CALL_START):
        return ready
    ruled = turn.passed.ruled.pop(ready.call.key, None)
    if ruled is not None:
        return ruled if isinstance(ruled, Refused) else _with(turn, ready, ruled)
    ruling = await passed(turn, h.CALL_START, h.CallStart(**where(turn), **_run(ready.call)))
    return _ruled(turn, ready, ruling.view, ruling.verdict)


async def run_call(turn: Turn, ready: Ready) -> Outcome | Again:
    """Run a started call once, and have hooks look at what came of it. In a task of its own.

    Cancelling it while its function runs leaves the call in doubt; once that has returned, there is a result.
    """
    outcome = await outcome_of(turn, ready)
    task, hooks = asyncio.current_task(), turn.gear.hooks
    if task is not None and task.cancelling():
        raise asyncio.CancelledError  # the function made light of it; its call is in doubt all the same
    if outcome.state in (CallState.FAILED, CallState.TIMED_OUT) and hooks.at(h.CALL_ERROR):
        run = _run(ready.call)
        error = h.CallError(**where(turn), **run, state=outcome.state, error=outcome.text, retries=ready.retries)
        seen, verdict = await passed_at_result(turn, h.CALL_ERROR, error)
        outcome = replace(outcome, text=seen.error)
        if isinstance(verdict, h.Retry) and not turn.passed.cut:
            again = await _again(turn, ready, outcome)
            if isinstance(again, Again):
                return again
            outcome = again
    return await looked_at(turn, ready.call, outcome)


async def looked_at(turn: Turn, call: CallView, outcome: Outcome, *, earlier: bool = False) -> Outcome:
    """What is to be stored of a result, after `CALL_END` and `MESSAGE_APPEND`; its state stays.

    `earlier`: it is of the run that the ledger knows, not of the next.
    """
    hooks = turn.gear.hooks
    if hooks.at(h.CALL_END):
        run = _run(call)
        run["attempt"] -= earlier
        view = h.CallEnd(**where(turn), **run, state=outcome.state, result=outcome.text)
        seen, _ = await passed_at_result(turn, h.CALL_END, view)
        outcome = replace(outcome, text=seen.result)
    if hooks.at(h.MESSAGE_APPEND):
        message = h.MessageAppend(**where(turn), role="tool", text=outcome.text)
        told, _ = await passed_at_result(turn, h.MESSAGE_APPEND, message)
        outcome = replace(outcome, text=told.text)
    return outcome


async def looked_at_unrun(turn: Turn, call: CallView, outcome: Outcome, by: SettledBy) -> Outcome:
    """The same for a result that came without a run; a `Stopped` leaves the call open, as it was."""
    hooks = turn.gear.hooks
    if by is SettledBy.RUN or not (hooks.at(h.CALL_END) or hooks.at(h.MESSAGE_APPEND)):
        return outcome
    await turn.flush()
    return await turn.stop.run(looked_at(turn, call, outcome, earlier=by is not SettledBy.GATE))


def has_ended(turn: Turn, call: CallView, outcome: Outcome) -> None:
    """A call of the batch has its result."""
    memory = turn.passed
    asked = memory.batch.get(call.key)
    if asked is not None:
        memory.ended[call.key] = h.EndedCall(
            call_id=asked.call_id,
            name=asked.name,
            arguments=asked.arguments,
            attempt=max(1, turn.snapshot.call(call.key).attempt),
            effect=asked.effect,
            state=outcome.state,
            result=outcome.text,
        )


def runs_with(call: CallView) -> str:
    """The arguments a call runs with: what the model wrote, or what was put in its place."""
    return call.arguments if call.approved is None else call.approved


def told_of_change(turn: Turn, call: CallView, shown: str) -> str:
    """A result that says with what its call ran, where that is not what the model wrote."""
    text = runs_with(call)
    if text == call.arguments:
        return shown
    if call.key in turn.passed.changed:
        return f"[A guard changed the arguments of this call: {text}]\n{shown}"
    return edited(shown, text)


async def _again(turn: Turn, ready: Ready, outcome: Outcome) -> Again | Outcome:
    """The call made ready for one more run, if the guards of its start let it; else how it ended."""
    call = replace(ready.call, attempt=ready.call.attempt + 1)
    if call.key in turn.passed.changed:
        call = replace(call, approved=None)  # guards see what the model wrote, as they did before
    anew = Ready(call, ready.tool, ready.tool.arguments(runs_with(call)), ready.retries + 1)
    view = h.CallStart(**where(turn), **_run(call))
    seen, verdict = await passed_at_result(turn, h.CALL_START, view)
    if isinstance(verdict, h.Stop):
        return outcome
    found = _ruled(turn, anew, seen, verdict)
    if isinstance(found, Refused):
        return replace(outcome, text=f"{outcome.text}\n{found.text}")
    return Again(found, outcome)


def _ruled(turn: Turn, ready: Ready, view: h.CallStart, verdict: CallStartVerdict) -> Ready | Refused:
    match verdict:
        case h.Deny(reason):
            return _denied(ready.call, reason)
        case h.Skip(words):
            return Refused(words, _unrun(ready.call))
        case _:
            return _with(turn, ready, view.arguments)


def _with(turn: Turn, ready: Ready, wanted: str) -> Ready | Refused:
    """The call with the arguments that guards want; of an approved one nothing else runs than what was approved."""
    call, text = ready.call, runs_with(ready.call)
    if wanted == text:
        return ready
    if call.approved is not None:
        if _canonical(wanted) == _canonical(text):
            return ready
        return _denied(call, "a guard wanted other arguments than those that a person approved.")
    try:
        arguments = ready.tool.arguments(wanted)
    except ArgumentsInvalid as error:
        return Refused(f"Error: a guard changed the arguments of this call to {wanted}. {error}", CallState.FAILED)
    turn.passed.changed.add(call.key)
    return replace(ready, call=replace(call, approved=wanted), arguments=arguments)


def _denied(call: CallView, reason: str) -> Refused:
    what = "was not run again" if call.attempt else "did not run"
    return Refused(f"[denied] This call {what}. The reason: {reason}", _unrun(call))


def _unrun(call: CallView) -> CallState:
    """How a call ends that is not run; one that was started before may have happened."""
    return CallState.FAILED if call.attempt else CallState.DENIED


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _asked(call: CallView) -> h.BatchCall:
    attempt = call.attempt + 1
    return h.BatchCall(call_id=call.id, name=call.name, arguments=call.arguments, attempt=attempt, effect=call.effect)


class _Seen(TypedDict):
    call_id: str
    name: str
    arguments: str
    attempt: int
    effect: Effect


def _run(call: CallView) -> _Seen:
    """The next run of a call."""
    return {
        "call_id": call.id,
        "name": call.name,
        "arguments": runs_with(call),
        "attempt": call.attempt + 1,
        "effect": call.effect,
    }
