"""An agent that asks before it pays, and a queue of what waits for a person.

    python examples/approval_queue.py ask               an agent begins, and its turn ends: three payments wait
    python examples/approval_queue.py list              from any process: what waits
    python examples/approval_queue.py approve CALL      ... and lets it run, or with a smaller amount: approve CALL 20
    python examples/approval_queue.py deny CALL WHY     ... or not
    python examples/approval_queue.py go-on             the agent goes on with what was decided

Without a word it does all of that, one process after the other. Kill any of them at any time: what was decided is on
disk, and a payment runs once, if it was approved.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import StatefulAgentLoop, ToolContext, tool

DATABASE, SESSION = "approvals.db", "payroll"


def large(arguments: dict[str, int]) -> str | None:
    """Why a person has to look at a payment; None: nobody has to."""
    return "over the limit of 100" if arguments["amount"] > 100 else None


@tool(approval=large)
def pay(context: ToolContext, to: str, amount: int) -> str:
    """Pay somebody."""
    # A real one hands context.idempotency_key on to the bank: the same for every attempt of this payment.
    print(f"  paid {amount} to {to}")
    return f"paid {amount} to {to}"


MODEL = [
    calls(("pay", {"to": "ann", "amount": 40}), ("pay", {"to": "bob", "amount": 500}),
          ("pay", {"to": "cleo", "amount": 300}), ("pay", {"to": "dan", "amount": 900})),
    says("Paid what I may."),
]  # fmt: skip


def agent(turn: int) -> StatefulAgentLoop:
    return StatefulAgentLoop(llm=ScriptedLLM(MODEL[turn:]), db_path=DATABASE, tools=[pay])


async def ask() -> None:
    async with agent(0) as loop:
        await loop.create_session(SESSION)
        result = await loop.send("Pay everybody.", SESSION)
        print(f"the turn ended: {result.status}, {result.stop_reason}")


async def show() -> None:
    async with StatefulAgentLoop(db_path=DATABASE) as desk:  # no model, no tools: to decide needs neither
        for wait in await desk.get_approvals():
            print(f"  {wait.call_id}  {wait.name} {wait.arguments}  because: {wait.reason}")


async def decide(word: str, call: str, *more: str) -> None:
    async with StatefulAgentLoop(db_path=DATABASE) as desk:
        if word == "deny":
            await desk.deny(SESSION, call, " ".join(more) or None, by="the boss")
            return
        [wait] = [one for one in await desk.get_approvals(SESSION) if one.call_id == call]
        changed = {**json.loads(wait.arguments), "amount": int(more[0])} if more else None
        await desk.approve(SESSION, call, arguments=changed, arguments_hash=wait.arguments_hash, by="the boss")


async def go_on() -> None:
    async with agent(1) as loop:
        result = await loop.resume(SESSION)
        waiting = [call.id for call in result.pending_tool_calls]
        print(f"the turn ended: {result.status}, {result.final_text or f'{waiting} wait'}")


def everything() -> None:
    for words in (["ask"], ["list"], ["deny", "call_3", "not this month"], ["approve", "call_2"], ["go-on"],
                  ["approve", "call_1", "50"], ["go-on"]):  # fmt: skip
        print(f"$ {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, __file__, *words], check=True)


async def main(words: list[str]) -> None:
    match words:
        case ["ask"]:
            await ask()
        case ["list"]:
            await show()
        case ["approve" | "deny" as word, call, *more]:
            await decide(word, call, *more)
        case ["go-on"]:
            await go_on()
        case _:
            print(__doc__)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        everything()
    else:
        asyncio.run(main(sys.argv[1:]))
