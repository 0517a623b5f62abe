"""What these tests share: tools that count, fixed usage, processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_client.scripted import ScriptedLLM
from llm_client.service import Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, Tool, World, tool

USED = Usage(prompt_tokens=100, completion_tokens=10)
"""What every request costs."""


@tool(effect="read")
def look(what: str = "it") -> str:
    """Looks."""
    return f"saw {what}"


@tool
def pay(amount: int) -> str:
    """Pays."""
    return f"paid {amount}"


def counting(script: Iterable[Any], usage: Usage = USED) -> ScriptedLLM:
    return ScriptedLLM(script, usage=lambda request, answer: usage)


def a_loop(
    folder: Path,
    script: Iterable[Any],
    *,
    tools: Iterable[Tool] = (look, pay),
    world: World | None = None,
    **settings: Any,
) -> Any:
    return StatefulAgentLoop(
        llm=counting(script),
        db_path=folder / "agent.db",
        tools=tools,
        config=AgentLoopConfig(**settings),
        world=world,
    )


def die() -> None:
    """The process ends here, as by a power cut of its own."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Any) -> int:
    """Run a coroutine function in a forked process; the signal it died of, or 0."""
    import asyncio

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(work())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


async def said(loop: StatefulAgentLoop, session: str) -> list[str]:
    """The history in short: `role: text`, with `(name)` for a call."""
    lines = []
    for message in await loop.get_messages(session):
        calls = "".join(f"({call.name})" for call in message.tool_calls)
        lines.append(f"{message.role}: {message.text}{calls}")
    return lines


async def remembered(loop: StatefulAgentLoop, session: str) -> dict[str, Any]:
    store = (await loop._open()).store
    return {name: json.loads(memory) for name, memory in (await store.memories(session)).items()}  # type: ignore[arg-type]
