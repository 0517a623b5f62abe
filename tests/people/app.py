"""`python -m tests.people.app FOLDER URL COMMAND ...`: a process's life of the app; prints what came of it as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from power_loop import PowerLoopError, SessionExistsError, StatefulAgentLoop, StatefulResult
from tests.people.kit import S, app_tools, service


def told(result: StatefulResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "text": result.final_text,
        "pending": [[call.id, call.name, call.state] for call in result.pending_tool_calls],
        "stop_reason": result.stop_reason,
    }


async def carried_out(loop: StatefulAgentLoop, command: str, words: list[str]) -> Any:
    match command, words:
        case "send", [text]:
            with suppress(SessionExistsError):
                await loop.create_session(S)
            return told(await loop.send(text, S))
        case "resume", []:
            return told(await loop.resume(S))
        case "list", []:
            found = await loop.get_approvals()
            return [[wait.call_id, wait.name, wait.arguments, wait.reason, wait.arguments_hash] for wait in found]
        case "approve", [call, *rest]:
            arguments = json.loads(rest[0]) if rest else None
            wait = await loop.approve(S, call, arguments=arguments, by=f"process {os.getpid()}")
            return wait.decision
        case "deny", [call, reason]:
            return (await loop.deny(S, call, reason)).decision
        case "submit", [results]:
            return told(await loop.submit_results(S, json.loads(results)))
    raise SystemExit(f"no such command: {command} {words}")


async def main(folder: Path, url: str, command: str, *words: str) -> None:
    turns = command in ("send", "resume")
    llm = service(url) if turns else None
    tools = app_tools(folder) if turns else []
    async with StatefulAgentLoop(llm=llm, db_path=folder / "agent.db", tools=tools) as loop:
        try:
            said = await carried_out(loop, command, list(words))
        except PowerLoopError as error:
            said = {"error": error.code}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
