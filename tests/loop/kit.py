"""What the tests of the loop share: loops over real files, things to wait for, the whole database as a value."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llm_client import OpenAIChatService, ScriptedLLM
from llm_client.messages import parse
from llm_client.service import ChatRequest, LLMService
from power_loop import AgentLoopConfig, StatefulAgentLoop, Tool, ToolRegistry
from power_loop.stateful_loop.results import StatefulResult
from power_loop.testing import ScriptedServer
from power_loop.transcript.rules import violations

ROOT = Path(__file__).parents[2]
FOREVER = 60.0
"""Seconds a blocked thing would last if nobody stopped it: far longer than any test may take."""


def open_loop(
    folder: Path,
    llm: LLMService | Iterable[Any] | None = None,
    *,
    tools: Iterable[Tool] | ToolRegistry = (),
    sinks: Iterable[Any] = (),
    **settings: Any,
) -> StatefulAgentLoop:
    """A loop over `agent.db` in a folder; a list as `llm` is the script of a `ScriptedLLM`."""
    model = ScriptedLLM(llm) if isinstance(llm, list | tuple) else llm
    return StatefulAgentLoop(
        llm=model,  # type: ignore[arg-type]
        db_path=folder / "agent.db",
        tools=tools,
        config=AgentLoopConfig(**settings),
        sinks=tuple(sinks),
    )


def service(server: ScriptedServer, **settings: Any) -> OpenAIChatService:
    """The real client, pointed at a server."""
    return OpenAIChatService(
        **{"model": "scripted", "base_url": server.url, "api_key": "none", "backoff": 0.01, "attempts": 2, **settings}
    )


def dump(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, read by a connection of its own."""
    with sqlite3.connect(f"file:{folder / 'agent.db'}?mode=ro", uri=True) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        tables = {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    db.close()
    return tables


def no_transaction(folder: Path) -> None:
    """Another program gets the write lock at once: nobody has left a transaction open."""
    db = sqlite3.connect(folder / "agent.db", timeout=0, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("ROLLBACK")
    db.close()


def shown(request: ChatRequest) -> list[str]:
    """A request in short: `role: text` a message, `(name)` for a call."""
    lines = []
    for text in request.messages:
        message = json.loads(text)
        calls = "".join(f"({call['function']['name']})" for call in message.get("tool_calls", ()))
        lines.append(f"{message['role']}: {message.get('content') or ''}{calls}")
    return lines


def valid(*requests: ChatRequest) -> bool:
    """Whether a provider would take these requests; says why not."""
    found = [violations(map(parse, request.messages)) for request in requests]
    assert not any(found), found
    return True


async def history_is_valid(loop: StatefulAgentLoop, session: str) -> bool:
    stored = await loop.get_messages(session)
    assert violations(message.message for message in stored) == []
    return True


class Latch:
    """Lets nobody through until so many have come."""

    def __init__(self, count: int) -> None:
        self._barrier = asyncio.Barrier(count)

    async def pass_(self) -> None:
        async with asyncio.timeout(10):
            await self._barrier.wait()


async def streamed(loop: StatefulAgentLoop, *what: Any, **how: Any) -> StatefulResult:
    """`send` by way of `stream`."""
    result = None
    async for event in loop.stream(*what, **how):
        result = event
    assert isinstance(result, StatefulResult)
    return result


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


async def until_true(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(10):
        while not await question():  # noqa: ASYNC110 - what is asked for is in a file
            await asyncio.sleep(0.002)


@asynccontextmanager
async def stuck_in(sending: asyncio.Task[StatefulResult], entered: asyncio.Event) -> AsyncIterator[None]:
    """Within, the turn has reached what blocks it. A turn that ends before it gets there fails the test."""
    waiting = asyncio.create_task(until(entered))
    done, _ = await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if sending in done:
        waiting.cancel()
        raise AssertionError(f"the turn ended before it was stuck: {sending.result()}")
    yield


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs this code."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def output_of(process: subprocess.Popen[str], timeout: float = 30) -> str:
    """What a process prints until its end; it must end well."""
    out, err = await asyncio.to_thread(process.communicate, None, timeout)
    assert process.returncode == 0, err
    return out


CRASH = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, tool

# Arguments: folder, session, then what to call; the tool named `die` kills the process.
folder, session, *wanted = sys.argv[1:]

def made(name):
    async def run() -> str:
        "Runs."
        if name == "die":
            os._exit(0)
        return f"{name} done"
    return tool(run, name=name)

def die(request):
    os._exit(0)

async def main():
    script = [calls(*((name, {}) for name in wanted))] if wanted else [die]
    tools = [made(name) for name in set(wanted)]
    loop = StatefulAgentLoop(llm=ScriptedLLM(script), db_path=f"{folder}/agent.db", tools=tools)
    try:
        await loop.create_session(session)
    except Exception:
        pass
    await loop.send("first", session, request_id="r")

asyncio.run(main())
"""


async def crashed(folder: Path, session: str, *wanted: str) -> None:
    """Leave a session whose process died: in the call named `die`, or, without calls, while it asked the model."""
    assert await output_of(python(CRASH, folder, session, *wanted)) == ""
