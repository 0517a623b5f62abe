"""Large results: what the model is shown of one, and the whole of it, which is committed with that."""

from __future__ import annotations

import asyncio
from typing import Final

from power_loop.engine.outputs import Output
from power_loop.engine.snapshot import CallView
from power_loop.loop.turn import Turn
from power_loop.shielding import uncancelled
from power_loop.transcript.recall import Handle, says_in_short, shown_in_short
from power_loop.transcript.shorten import shortened

AT_ONCE: Final = 65_536
"""Characters that are shortened and compressed on the event loop; more than these in a thread."""


async def in_short(turn: Turn, call: CallView, seq: int, text: str, *, ran: bool) -> tuple[str, Output | None]:
    """What the model is shown of a call's result, and, where that is a part, the whole.

    Only a result of the tool's own (`ran`) is shortened: words of ours about a call are short. Never cut off by a
    cancellation: a call that has returned is not lost over it.
    """
    gear, handle = turn.gear, str(Handle(turn.key, seq))
    tool = gear.tool(call.name)
    limit = gear.shown_at_once(tool) if ran else None
    # What only says that it is shown in short would be taken for a result whose whole text was lost.
    claims = says_in_short(text, handle)
    if not claims and (limit is None or len(text) <= limit):
        return text, None
    short = gear.shortener(tool)

    def made() -> tuple[str, Output | None]:
        part = text if limit is None or len(text) <= limit else shortened(short, text, limit)
        if part == text and not claims:
            return text, None
        return shown_in_short(part, len(text), handle, recalled=gear.recall is not None), Output.of(text)

    return made() if len(text) <= AT_ONCE else await uncancelled(asyncio.to_thread(made))
