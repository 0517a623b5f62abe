"""What the tests of people in the loop share: an app with a ledger file, and the same app in processes of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_client import OpenAIChatService
from power_loop import AgentLoopConfig, PowerLoopError, StatefulAgentLoop, StatefulResult, Tool, ask_human, tool
from power_loop.testing import Reply, ScriptedServer
from power_loop.transcript.rules import violations
from power_loop.values import World
from tests.loop.kit import dump

ROOT = Path(__file__).parents[2]
S = "s"
STAY = "STAY"
"""Of this argument a tool says that it runs, and stays inside until a line comes in or the process is killed."""
SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}


@dataclass(frozen=True)
class Desk:
    """A folder with a database and a ledger, a server, and loops over them here or in processes of their own."""

    folder: Path
    server: ScriptedServer

    def tool(self, name: str, **options: Any) -> Tool:
        """A tool that notes what it ran with in the ledger, on disk before it goes on."""
        path = self.folder / "ledger"

        @tool(name=name, **options)
        def run(what: str = "nothing") -> str:
            """Does it."""
            note(path, f"{name} {what}")
            return f"{name} did {what}"

        return run

    @asynccontextmanager
    async def loop(
        self, *tools: Tool, model: bool = True, world: World | None = None, **settings: Any
    ) -> AsyncIterator[StatefulAgentLoop]:
        """A loop of one process's life."""
        llm = service(self.server) if model else None
        config = AgentLoopConfig(**settings)
        where = self.folder / "agent.db"
        async with StatefulAgentLoop(llm=llm, db_path=where, tools=tools, config=config, world=world) as loop:
            yield loop

    async def asked(self, *calls: tuple[str, Any], tools: Iterable[Tool], **settings: Any) -> StatefulResult:
        """A session in which the model has asked for these calls, from a process that is gone."""
        self.server.use([Reply.calling(*calls)])
        async with self.loop(*tools, **settings) as loop:
            await loop.create_session(S)
            return await loop.send("go", S)

    @property
    def ledger(self) -> list[str]:
        """What ran, in order."""
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        return dump(self.folder)

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """`python -m tests.people.app` over this desk."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.people.app", str(self.folder), self.server.url, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def ran(self, *arguments: str) -> Any:
        """What such a process says, as a JSON value, once it has ended."""
        out, err = self.process(*arguments).communicate(timeout=60)
        assert not err, err
        return json.loads(out)

    @asynccontextmanager
    async def unchanged(self, *wanted: type[PowerLoopError]) -> AsyncIterator[pytest.ExceptionInfo[PowerLoopError]]:
        """Whatever is tried inside raises one of these, and leaves every row of the database as it was."""
        before = self.dump()
        with pytest.raises(wanted) as caught:
            yield caught
        assert self.dump() == before

    def held(self) -> dict[str, Any]:
        """What a session that waits still holds: nothing, if this is all falsy. And nobody is inside a transaction."""
        with sqlite3.connect(self.folder / "agent.db", timeout=0, isolation_level=None) as db:
            db.execute("BEGIN IMMEDIATE")
            owner, since = db.execute("SELECT owner, owner_since FROM sessions WHERE id = ?", (S,)).fetchone()
            live = db.execute("SELECT count(*) FROM turns WHERE state IN ('asking', 'acting')").fetchone()[0]
            db.execute("ROLLBACK")
        db.close()
        return {"owner": owner, "since": since, "live turns": live}


def note(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


def service(server: ScriptedServer | str) -> OpenAIChatService:
    url = server if isinstance(server, str) else server.url
    return OpenAIChatService(model="scripted", base_url=url, api_key="none", backoff=0.01, attempts=2)


def app_tools(folder: Path) -> list[Tool]:
    """The tools of the app in a process of its own."""
    desk = Desk(folder, None)  # type: ignore[arg-type]

    def staying(name: str, **options: Any) -> Tool:
        @tool(name=name, **options)
        def run(what: str = "nothing") -> str:
            """Does it, and may stay inside."""
            note(folder / "ledger", f"{name} {what}")
            if what == STAY and not (folder / "go on").exists():
                print("inside", flush=True)
                sys.stdin.readline()
            return f"{name} did {what}"

        return run

    return [
        desk.tool("pay", approval="money leaves"),
        desk.tool("look", effect="read"),
        staying("risky", approval=True),
        staying("safe", effect="idempotent", approval=True),
        staying("slow", effect="read"),
        Tool.from_schema("fetch", "The host fetches it.", SCHEMA, external=True),
        ask_human,
    ]


async def texts(loop: StatefulAgentLoop, session: str = S) -> list[str]:
    """The results of calls as the model sees them; the history is one that a provider takes."""
    stored = await loop.get_messages(session)
    assert violations(message.message for message in stored) == []
    return [message.text for message in stored if message.role == "tool"]


async def states(loop: StatefulAgentLoop, session: str = S) -> list[str]:
    return [str(call.state) for call in await loop.get_calls(session)]


def waiting(result: StatefulResult) -> list[tuple[str, str]]:
    return [(call.name, call.state) for call in result.pending_tool_calls]


def seen_by_the_model(server: ScriptedServer) -> list[Mapping[str, Any]]:
    """The messages of the last request."""
    found: list[Mapping[str, Any]] = server.requests[-1].body["messages"]
    return found
