"""A process that runs one turn with the tools of `agent_tools` until it is killed: `agent_child.py DB SESSION`."""

from __future__ import annotations

import asyncio
import sys

from agent_tools import all_tools

from llm_client.scripted import calls
from power_loop import ScriptedLLM, StatefulAgentLoop


async def main(db: str, session: str) -> None:
    model = ScriptedLLM(
        [
            calls(
                ("look_up_invoice", {"number": 17}), ("send_payment", {"number": 17}), ("write_receipt", {"number": 17})
            ),
            "all done",
        ]
    )
    async with StatefulAgentLoop(llm=model, db_path=db, tools=all_tools) as loop:
        await loop.create_session(session, system_prompt="You pay invoices.")
        await loop.send("Pay invoice 17, please.", session)


asyncio.run(main(sys.argv[1], sys.argv[2]))
