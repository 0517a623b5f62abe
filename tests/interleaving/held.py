"""A process that another one can hold at any statement, and let go again; what it does, and what it says of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest
from power_loop import (
    AgentLoopConfig,
    PowerLoopError,
    Recovered,
    StatefulAgentLoop,
    StatefulResult,
    Tool,
    ToolContext,
    World,
    tool,
)
from power_loop.testing.crash import CrashPoints, Point

SESSION: Final = "s"
WORK: Final = (("look", {}), ("put", {}), ("pay", {}))
PATIENCE: Final = 60
BUSY: Final = 0.05
"""Seconds a commit waits for the write lock: who holds it here does not let go."""


class Hold:
    """`reached` for a world: at one point it tells its parent, and goes on when that says so."""

    def __init__(self, point: Point | None, parent: socket.socket | None) -> None:
        self.points = CrashPoints()
        self._point = point
        self._parent = parent

    def __call__(self, name: str) -> None:
        self.points(name)
        if self._point is not None and name == self._point.name and self.points.passed.count(self._point) == 1:
            self._point = None
            assert self._parent is not None
            self._parent.send(b"held")
            if not self._parent.recv(8):
                os._exit(3)  # nobody is left to let us go


def model() -> ScriptedLLM:
    """Asks once for all three tools where an input says "work", then is done."""

    async def answer(request: ChatRequest) -> Any:
        messages = [json.loads(text) for text in request.messages]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        text = messages[last]["content"]
        if "work" in text and not any("tool_calls" in message for message in messages[last:]):
            return calls(*WORK)
        return f"re {text}"

    return ScriptedLLM([answer] * 40)


def tools(ledger: Path, reached: Callable[[str], None], dies: bool) -> list[Tool]:
    def work(name: str, context: ToolContext) -> str:
        line = f"{name} {context.attempt} {context.idempotency_key}\n"
        descriptor = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)
        reached(f"tool.{name}")
        return f"{name} done"

    @tool(effect="read")
    async def look(context: ToolContext) -> str:
        return work("look", context)

    @tool(effect="idempotent")
    async def put(context: ToolContext) -> str:
        return work("put", context)

    @tool
    async def pay(context: ToolContext) -> str:
        if dies:
            work("pay", context)
            os._exit(9)
        return work("pay", context)

    return [look, put, pay]


Op = Callable[[StatefulAgentLoop, str], Awaitable[Any]]
"""What a process does with a loop, under its own name."""

OPS: Final[Mapping[str, Op]] = {
    "send": lambda loop, who: loop.send(text_of(who), SESSION, if_busy="raise"),
    "send and resume": lambda loop, who: loop.send(text_of(who), SESSION, if_busy="raise", on_pending="resume"),
    "send and abort": lambda loop, who: loop.send(text_of(who), SESSION, if_busy="raise", on_pending="abort"),
    "resume": lambda loop, _: loop.resume(SESSION, if_busy="raise"),
    "abort": lambda loop, _: loop.abort_pending(SESSION),
    "recover": lambda loop, _: loop.recover("resume"),
    "recover and abort": lambda loop, _: loop.recover("abort"),
    "stop": lambda loop, _: loop.request_stop(SESSION),
    "resolve": lambda loop, _: loop.resolve(SESSION, "call_2", "a person says so"),
    "archive": lambda loop, _: loop.archive_session(SESSION),
    "close": lambda loop, _: loop.close_session(SESSION),
    "delete": lambda loop, _: loop.delete_session(SESSION),
    "resume by force": lambda loop, _: loop.resume(SESSION, if_busy="raise", force=True),
    "abort by force": lambda loop, _: loop.abort_pending(SESSION, force=True),
}
SENDS: Final = ("send", "send and resume", "send and abort")


def text_of(who: str) -> str:
    """The input that a process sends."""
    return f"work of the {who}"


@dataclass(frozen=True)
class Child:
    """A forked process at work on one database."""

    pid: int
    parent: socket.socket
    report: Path

    def held(self) -> bool:
        """Wait until it is held; False if it ended first."""
        return self.parent.recv(8) == b"held"

    def go_on(self) -> None:
        self.parent.send(b"go")

    def ended(self) -> dict[str, Any]:
        """What it says of its end."""
        _, status = os.waitpid(self.pid, 0)
        self.parent.close()
        if not self.report.exists():
            return {"died": os.waitstatus_to_exitcode(status)}
        told: dict[str, Any] = json.loads(self.report.read_text())
        return told


def begin(folder: Path, name: str, op: Op, point: Point | None = None, *, dies: bool = False) -> Child:
    """Fork a process that does `op` once; the caller must have one thread only."""
    ours, its = socket.socketpair()
    report = folder / f"{name}.json"
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be(folder, report, op, Hold(point, its), dies)
    its.close()
    return Child(pid, ours, report)


def _be(folder: Path, report: Path, op: Op, hold: Hold, dies: bool) -> None:
    """The forked process. Never returns."""
    try:
        signal.alarm(PATIENCE)
        told = asyncio.run(_done(folder, report.stem, op, hold, dies))
        passed: Sequence[Point] = hold.points.passed
        report.write_text(json.dumps(told | {"passed": passed}))
    except BaseException:  # noqa: BLE001 - nothing may leave a fork
        report.write_text(json.dumps({"error": "internal", "words": traceback.format_exc()}))
    finally:
        os._exit(0)


async def _done(folder: Path, who: str, op: Op, hold: Hold, dies: bool) -> dict[str, Any]:
    config = AgentLoopConfig(synchronous="NORMAL", busy_timeout=BUSY)
    loop = StatefulAgentLoop(
        llm=model(),
        db_path=folder / "agent.db",
        tools=tools(folder / "ledger", hold, dies),
        config=config,
        world=World(reached=hold),
    )
    async with loop:
        try:
            return {"result": _plain(await op(loop, who))}
        except PowerLoopError as error:
            return {"error": error.code, "words": str(error)}


def _plain(result: Any) -> Any:
    if isinstance(result, StatefulResult):
        return {"status": result.status, "turn": result.turn, "text": result.final_text, "why": result.stop_reason}
    if isinstance(result, list) and result and isinstance(result[0], Recovered):
        return [None if entry.error is None else entry.error.code for entry in result]
    return result
