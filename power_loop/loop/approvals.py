"""Asking people: which calls of a round need an approval is settled for all at once, before any of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from power_loop.engine import facts as f
from power_loop.engine.snapshot import CallView
from power_loop.loop.hooked_calls import before_approval
from power_loop.loop.running import context_of
from power_loop.loop.turn import Turn
from power_loop.tools import ArgumentsInvalid, ask_approval
from power_loop.values import Micros

MICROS: Final = 1_000_000


async def ask_approvals(turn: Turn, calls: Sequence[CallView]) -> None:
    """Record which of these calls wait for a person; the others may run.

    What waits is on disk before anything runs or anybody hears of it, and holds nothing. A call whose tool is gone or
    refuses its arguments needs nobody: it will be refused without having run.

    Raises:
        Stopped: somebody stopped the turn; whether these calls need an approval is asked again by whoever resumes it.
    """
    waits = []
    for asked in calls:
        call = await before_approval(turn, asked, turn.gear.tool(asked.name))
        if call is None:
            continue
        needed, reason = await _needed(turn, call)
        if needed:
            expires = turn.gear.config.approval_timeout
            at = None if expires is None else Micros(turn.gear.world.micros() + round(expires * MICROS))
            waits.append(f.Wait(key=call.key, arguments=call.arguments, reason=reason, expires_at=at))
    turn.asked(calls)
    if waits:
        await turn.record(f.ApprovalsRequested(**turn.stamp, calls=tuple(waits)), hold=True)
        turn.gear.world.reached("loop.approvals_asked")


async def _needed(turn: Turn, call: CallView) -> tuple[bool, str | None]:
    tool = turn.gear.tool(call.name)
    if tool is None or call.changed:
        return False, None
    try:
        arguments = tool.arguments(call.arguments)
    except ArgumentsInvalid:
        return False, None
    word = turn.brief.policy.word(tool.name)
    if word is not None:
        return word == "always", tool.approval if isinstance(tool.approval, str) else None
    return await turn.stop.run(ask_approval(tool, arguments, context_of(turn, call, 1)))
