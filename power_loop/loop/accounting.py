"""Calls that were answered from outside, while no turn ran, count in the session's steps as all others do."""

from __future__ import annotations

from power_loop.engine import facts as f
from power_loop.loop.turn import Turn
from power_loop.loop.watching import results_of, seen_call


async def account(turn: Turn) -> None:
    """Take account of what was settled since the last turn; recorded with whatever comes next."""
    stepping = turn.stepping
    if stepping is None or not turn.view.answers:
        return
    answer, results = turn.view.last_answer()
    if not results:
        return
    texts = results_of(results)
    memory = None
    for call in await turn.brief.lookup.calls_of(answer.seq):
        if not call.state.open:
            seen = seen_call(call.name, call.arguments, texts.get(call.id, ""), call.state)
            memory = stepping.settled(call.key, seen) or memory
    if memory is not None:
        await turn.record(f.RulesRemembered(**turn.stamp, memories=(memory,)), hold=True)
