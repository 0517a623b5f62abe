"""Asking the hooks of a point in the middle of a turn, and what all points have in common."""

from __future__ import annotations

import asyncio
from typing import Final, TypedDict

import power_loop.hooks as h
from llm_client.messages import Content, TextPart, text_of
from power_loop.engine.turns import TurnState
from power_loop.hooks.points import D, V
from power_loop.loop.stop import Stop, Stopped
from power_loop.loop.turn import Turn
from power_loop.values import SessionId, Status

GRACE: Final = 0.05
"""Seconds that guards of a result get once the turn is stopped."""

CUT: Final = "the turn was stopped before its guards had decided"


class Where(TypedDict):
    """The fields that every view has."""

    session_id: SessionId
    turn: int
    round: int


def where(turn: Turn, round: int | None = None) -> Where:
    """In the round that is being worked on, unless said."""
    now = turn.snapshot
    current = now.rounds if now.state is TurnState.ACTING else now.rounds + 1
    return {"session_id": turn.session, "turn": now.turn, "round": current if round is None else round}


async def passed(turn: Turn, point: h.Point[V, D], view: V) -> h.Ruling[V, D]:
    """What came of asking the hooks of a point; all that happened before it is on disk by then.

    Raises:
        Stopped: a guard says so; or somebody stopped the turn meanwhile, and the hook that ran is cancelled.
    """
    await turn.flush()
    ruling = await turn.stop.run(turn.gear.hooks.run(point, view))
    if isinstance(ruling.verdict, h.Stop):
        raise Stopped(_stop(ruling.verdict))
    return ruling


async def passed_at_result(turn: Turn, point: h.Point[V, D], view: V) -> tuple[V, D]:
    """The same where a call has run, in the call's own task: its result is stored whatever happens.

    Cancelling this task is stopping the turn: guards get a moment then, and what they have not decided by then they
    have refused. A `Stop` is kept for when the results of the calls beside are stored.
    """
    hooks, memory = turn.gear.hooks, turn.passed
    verdict = point.proceed
    if hooks.guarded(point):
        deciding = None if memory.cut else asyncio.create_task(hooks.decide(point, view))
        if deciding is not None and await _in_time(turn, deciding):
            ruling = deciding.result()
        else:
            closed = point.closed(view, CUT)
            replaces = isinstance(closed, h.ReplaceText)
            ruling = h.Ruling(closed, point.replaced(view, closed) if replaces else view)
        verdict, view = ruling.verdict, ruling.view
    if not memory.cut:
        await _in_time(turn, asyncio.create_task(hooks.tell(point, h.Ruling(verdict, view))))
    if isinstance(verdict, h.Stop) and memory.stop is None:
        memory.stop = _stop(verdict)
    return view, verdict


async def _in_time(turn: Turn, task: asyncio.Task[object]) -> bool:
    """Whether it ended, and the turn was not stopped long before."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        turn.passed.cut = True
        try:
            await asyncio.wait({task}, timeout=GRACE)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_drop)
    return task.done()


async def appended(turn: Turn, role: str, text: str, *, round: int | None = None) -> str:
    """What is to be stored of the text of a message. Raises `Stopped`: nothing of it."""
    if not turn.gear.hooks.at(h.MESSAGE_APPEND):
        return text
    view = h.MessageAppend(**where(turn, round), role=role, text=text)
    return (await passed(turn, h.MESSAGE_APPEND, view)).view.text


def retold(content: Content | None, text: str) -> Content:
    """A message's content with other words in it: the first text part has them, whatever is no text stays."""
    if content is None or isinstance(content, str):
        return text
    parts = [part for part in content if not isinstance(part, TextPart)]
    at = next((number for number, part in enumerate(content) if isinstance(part, TextPart)), 0)
    return (*parts[:at], TextPart(text=text), *parts[at:]) if text or text_of(content) else content


def _stop(verdict: h.Stop) -> Stop:
    return Stop(Status.STOPPED, verdict.reason)


def _drop(task: asyncio.Task[object]) -> None:
    """What it raised is nobody's to hear."""
    if not task.cancelled():
        task.exception()
