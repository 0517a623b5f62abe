"""Sinks that listen well, badly and not at all; and turns with tools to hear of."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_client.scripted import ScriptedLLM, calls
from power_loop import MessageSink, SinkLimits, StatefulAgentLoop, Tool, tool
from power_loop.engine import facts as f
from power_loop.values import SessionId

KINDS = ["TurnBegan", "CallsRequested", "CallsStarted", "CallSettled", "RoundClosed", "AnswerReceived"]
"""The facts of a turn with one call."""

IMPATIENT = SinkLimits(record_seconds=0.2, turn_seconds=0.1, close_seconds=0.2)


class Listening:
    """Hears everything."""

    def __init__(self) -> None:
        self.facts: list[f.Fact] = []
        self.closed = 0

    async def record(self, facts: Sequence[f.Fact]) -> None:
        self.facts += facts

    async def aclose(self) -> None:
        self.closed += 1

    @property
    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.facts]


class Raising(Listening):
    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.error = error or OSError("the pipe is broken")

    async def record(self, facts: Sequence[f.Fact]) -> None:
        await super().record(facts)
        await asyncio.sleep(0)
        raise self.error


class Hanging(Listening):
    """Returns from nothing until it is let go, or cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.let_go = asyncio.Event(), asyncio.Event()
        self.cancelled = 0

    async def record(self, facts: Sequence[f.Fact]) -> None:
        await super().record(facts)
        self.inside.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Deaf(Hanging):
    """A hanging one that does not hear of its cancellation either."""

    async def record(self, facts: Sequence[f.Fact]) -> None:
        while not self.let_go.is_set():
            try:
                await super().record(facts)
            except asyncio.CancelledError:
                continue

    async def aclose(self) -> None:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue


class Slow(Listening):
    async def record(self, facts: Sequence[f.Fact]) -> None:
        await asyncio.sleep(0.02)
        await super().record(facts)


def working(ran: list[str]) -> Tool:
    @tool
    def work(what: str) -> str:
        """Works."""
        ran.append(what)
        return f"{what} done"

    return work


def script(turns: int) -> list[Any]:
    return [answer for n in range(turns) for answer in (calls(("work", {"what": f"part {n}"})), f"finished {n}")]


async def conversation(
    path: Path, sinks: Sequence[MessageSink], limits: SinkLimits | None = None, turns: int = 3
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Turns with a call each: what is stored of them, and what the tool was run with."""
    ran: list[str] = []
    llm = ScriptedLLM(script(turns))
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[working(ran)], sinks=sinks, sink_limits=limits) as loop:
        await loop.create_session("s")
        for n in range(turns):
            assert (await loop.send(f"go {n}", "s")).final_text == f"finished {n}"
    assert not path.with_name(f"{path.name}-wal").exists(), "the store was not closed"
    return stored(path), ran


def stored(path: Path) -> list[tuple[Any, ...]]:
    """What is kept of a conversation, without when."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = [
        *db.execute("SELECT seq, role, body FROM messages ORDER BY seq"),
        *db.execute("SELECT seq, ordinal, name, state, attempt FROM calls ORDER BY 1, 2"),
        *db.execute("SELECT number, origin, state, status FROM turns ORDER BY number"),
    ]
    db.close()
    return rows


def cancelled(turn: int = 1, session: str = "s") -> f.TurnCancelled:
    return f.TurnCancelled(session=SessionId(session), turn=turn, status="cancelled", stop_reason="enough")
