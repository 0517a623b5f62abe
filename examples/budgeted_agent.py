"""An agent on a budget: what it may spend, which tools when, who watches it, and a typed result that ends its turn.

python examples/budgeted_agent.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import AgentLoopConfig, StatefulAgentLoop, complete_tool, tool
from power_loop.rules import Budget, Budgets, Move, Price, PriceTable, RepeatedCall, Step, Steps, called


class Report(BaseModel):
    """What was found out."""

    city: str
    people: int


@tool(effect="read")
def search(words: str) -> str:
    """Search for something."""
    return f"nothing about {words}" if "Atlantis" in words else f"{words}: 126,000"


config = AgentLoopConfig(
    budgets=Budgets(turn=Budget(rounds=6), session=Budget(cost=0.05), tree=Budget(tokens=100_000)),
    prices=PriceTable({"scripted": Price(input=5.0, output=15.0)}),  # for a million tokens
    watchers=[RepeatedCall(limit=2, then="nudge", abort_at=4)],
    steps=Steps(
        [Step("look around", allow=("search",), guidance="Search before you report."), Step("report")],
        moves=[Move("look around", "report", called("search"))],
        exit="complete",
    ),
)

FIRST = [
    says("I think it is 126,000."),  # too early: the step wants a search first
    calls(("complete", {"city": "Ulm", "people": 126_000})),  # not allowed in this step
    calls(("search", {"words": "people of Ulm"})),
    calls(("complete", {"city": "Ulm", "people": 126_000})),
]
SECOND = [calls(("search", {"words": "people of Atlantis"}))] * 9


async def main() -> None:
    model = ScriptedLLM([*FIRST, *SECOND])
    tools = [search, complete_tool(Report)]
    async with StatefulAgentLoop(llm=model, db_path="budget.db", tools=tools, config=config) as loop:
        result = await loop.send("How many people live in Ulm?")
        print(f"{result.status}: {result.output!r}")
        usage = await loop.get_usage(result.session_id)
        known = "known" if usage.total.total_tokens and usage.cost else "unknown"
        print(f"{len(usage)} requests, tokens and cost are {known}")

        result = await loop.send("And in Atlantis?", result.session_id)
        print(f"{result.status}: {result.stop_reason}")
        for message in await loop.get_messages(result.session_id):
            if message.role != "assistant":
                print(f"  {message.role}: {message.text.splitlines()[0][:90]}")


if __name__ == "__main__":
    asyncio.run(main())
