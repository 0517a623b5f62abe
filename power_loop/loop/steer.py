"""Input that came while the turn ran becomes part of it, at a round boundary."""

from __future__ import annotations

from dataclasses import replace

from power_loop.engine import facts as f
from power_loop.loop.turn import Turn


async def take_in(turn: Turn) -> None:
    """Take in what waits to steer this turn, in the order it came: one commit, and the next request has it.

    If the process dies before the commit the input waits on; after it, it is in the history.

    Raises:
        EpochLostError: another process took the session over; nothing was taken.
    """
    await turn.flush()
    turn.snapshot = replace(turn.snapshot, inputs_wait=False)  # what comes from here on sets it again
    if messages := await turn.brief.lookup.take_inputs():
        turn.gear.world.reached("loop.steered")
        await turn.record(f.InputSteered(**turn.stamp, messages=messages))
