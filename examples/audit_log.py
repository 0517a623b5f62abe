"""Who did what, in order, from the database: replayed from any point, then followed while it happens.

    python examples/audit_log.py

An agent's process dies in the middle of a payment. Another one asks a person what became of it, and goes on. The log
says all of it, each line once: what was read before is not read again.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import StatefulAgentLoop, tool
from power_loop.engine import facts as f

DATABASE, SESSION = "audit.db", "order-7"


@tool
def pay(amount: int) -> str:
    """Pay: this process dies while it does."""
    os._exit(1)


def told(fact: f.Fact) -> str:
    """A fact as a line for an auditor."""
    match fact:
        case f.TurnBegan():
            return "began" if fact.origin == fact.turn else f"goes on from turn {fact.origin}"
        case f.CallsRequested():
            return f"the model asks for {', '.join(f'{call.name}{call.arguments}' for call in fact.calls)}"
        case f.CallsStarted():
            return f"{len(fact.calls)} call(s) started"
        case f.CallSettled():
            return f"call {fact.key.seq}.{fact.key.ordinal} {fact.state}, by {fact.settled_by}"
        case f.TurnInterrupted():
            return "the process died"
        case f.AnswerReceived():
            return f"the model is done ({fact.status})"
    return type(fact).__name__


async def dies() -> None:
    loop = StatefulAgentLoop(llm=ScriptedLLM([calls(("pay", {"amount": 3}))]), db_path=DATABASE, tools=[pay])
    await loop.create_session(SESSION)
    await loop.send("Pay the bill.", SESSION)


async def audited(loop: StatefulAgentLoop, cursor: int, *, follow: bool = False) -> int:
    """Print what happened since the cursor; with `follow` what happens, until the turn ends. The new cursor."""
    async for event in loop.events(SESSION, after=cursor, follow=follow):
        assert isinstance(event.event, f.Fact)
        assert event.number is not None
        cursor = event.number
        print(f"{cursor:3}  turn {event.event.turn}  {told(event.event)}", flush=True)
        if follow and isinstance(event.event, f.AnswerReceived):
            break
    return cursor


async def main() -> None:
    subprocess.run([sys.executable, __file__, "dies"], check=False)  # noqa: ASYNC221 - nothing else runs here
    async with StatefulAgentLoop(llm=ScriptedLLM([says("Paid.")]), db_path=DATABASE, tools=[pay]) as loop:
        print("what was left behind:")
        cursor = await audited(loop, 0)
        [call] = await loop.get_pending(SESSION)
        await loop.resolve(SESSION, call.id, "paid, says the bank")
        print("and what happens now:", flush=True)
        following = asyncio.create_task(audited(loop, cursor, follow=True))
        await loop.resume(SESSION)
        await following


if __name__ == "__main__":
    asyncio.run(dies() if sys.argv[1:] == ["dies"] else main())
