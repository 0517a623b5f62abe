"""Cancelling the caller at every await point of a turn, one run each: nothing is torn, and there is a way on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest
from power_loop import SessionState, StatefulAgentLoop, Status, ToolContext, tool
from tests.loop.kit import dump, history_is_valid, no_transaction, open_loop, shown, streamed, valid
from tests.loop.suspensions import Suspensions

LONG = "so much was seen " * 40
TOO_MANY = 1000


def model(request: ChatRequest) -> Any:
    """Asks for three calls for every input, sums up when asked to, and is done once it has the results."""
    lines = shown(request)
    if "memory of an assistant" in lines[0]:
        return "the note"
    since = lines[max(index for index, line in enumerate(lines) if line.startswith("user: ")) :]
    if any(line.startswith("tool: ") for line in since) or since[0].startswith("user: plain"):
        return "done"
    return calls(("look", {"n": 1}), ("look", {"n": 2}), ("write", {}))


class Agent:
    """A loop with tools that count what they did."""

    def __init__(self, folder: Path) -> None:
        self.llm = ScriptedLLM([model] * 40)
        self.writes: list[str] = []
        self.stop = asyncio.Event()
        self.folder = folder
        self.loop = open_loop(
            folder, self.llm, tools=self._tools(), context_window=1200, compact_at=0.5, synchronous="NORMAL"
        )

    def _tools(self) -> list[Any]:
        @tool(effect="read")
        async def look(n: int) -> str:
            """Looks."""
            await asyncio.sleep(0)
            return f"{n}: {LONG}"

        @tool
        async def write(context: ToolContext) -> str:
            """Writes, once a call."""
            self.writes.append(context.idempotency_key)
            if self.stop.is_set():
                self.stop.clear()
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return "written"

        return [look, write]


async def fresh(agent: Agent) -> None:
    """Something to fold, and nothing open."""
    await agent.loop.create_session("s")
    await agent.loop.send("plain talk", "s")


async def stopped(agent: Agent) -> None:
    """A turn that was stopped in its `once` call."""
    await fresh(agent)

    class WhenWriting:
        def is_set(self) -> bool:
            return bool(agent.writes)

    agent.stop.set()
    assert (await agent.loop.send("work", "s", stop_event=WhenWriting())).status is Status.STOPPED


async def send(loop: StatefulAgentLoop) -> Any:
    return await loop.send("more work", "s")


async def stream(loop: StatefulAgentLoop) -> Any:
    return await streamed(loop, "more work", "s")


async def resume(loop: StatefulAgentLoop) -> Any:
    return await loop.resume("s")


async def resume_then_send(loop: StatefulAgentLoop) -> Any:
    return await loop.send("more work", "s", on_pending="resume")


async def abort_then_send(loop: StatefulAgentLoop) -> Any:
    return await loop.send("more work", "s", on_pending="abort")


Act = Callable[[StatefulAgentLoop], Awaitable[Any]]


@pytest.mark.acceptance("A1", "C6")
@pytest.mark.parametrize(
    ("before", "act", "fewest"),
    [
        (fresh, send, 12),
        (fresh, stream, 15),
        (stopped, resume, 6),
        (stopped, resume_then_send, 15),
        (stopped, abort_then_send, 12),
    ],
)
async def test_cancelling_at_every_await_point(
    tmp_path: Path, before: Callable[[Agent], Awaitable[None]], act: Act, fewest: int
) -> None:
    struck = untouched = 0
    for at in range(1, TOO_MANY):
        folder = tmp_path / str(at)
        folder.mkdir()
        if await cancelled_at(folder, at, before, act):
            struck += 1
        else:
            untouched += 1
        if untouched == 4:  # how often threads make the loop turn is not the same each time
            break
    else:
        raise AssertionError("the turn has no end")
    assert struck >= fewest, "that many await points there are at the least"


async def cancelled_at(folder: Path, at: int, before: Callable[[Agent], Awaitable[None]], act: Act) -> bool:
    agent = Agent(folder)
    with Suspensions(at) as points:
        async with agent.loop as loop:
            await before(agent)
            done = len(agent.writes)
            acting = asyncio.ensure_future(act(loop))
            points.arm(acting)
            await asyncio.wait([acting])
            points.disarm()
            if not points.struck:
                assert acting.result().status is Status.COMPLETED
                assert any("the note" in line for line in shown(agent.llm.requests[-1])), "the turn holds a compaction"
                return False
            assert acting.cancelled(), "a cancellation is held back, never swallowed"
            assert len(asyncio.all_tasks()) == 1, "nothing runs on behind the caller's back"
            no_transaction(folder)
            info = await loop.get_session("s")
            assert info.state is not SessionState.RUNNING
            assert info.owner is None
            assert await loop._open() is not None
            assert len((await loop._open())._gates) == 0
            assert valid(*agent.llm.requests)
            whole(folder)
            if at % 2:
                await loop.resume("s")
            else:
                await loop.abort_pending("s")
            assert (await loop.send("plain talk again", "s")).final_text == "done"
            assert await loop.get_pending("s") == []
            assert await history_is_valid(loop, "s")
            assert valid(*agent.llm.requests)
            assert len(agent.writes) == len(set(agent.writes)), "a once call ran twice"
            started = sum(call.attempt for call in await loop.get_calls("s") if call.name == "write")
            assert done <= len(agent.writes) <= started, "what ran was recorded before"
            sent = agent.llm.requests[-1].messages
        assert len(asyncio.all_tasks()) == 1
    # A fresh process reads what this one saw.
    async with open_loop(folder, ScriptedLLM(["read"]), context_window=100_000) as later:
        assert isinstance(later._llm, ScriptedLLM)
        await later.send("plain end", "s")
        assert later._llm.requests[0].messages[: len(sent)] == sent
    return True


def whole(folder: Path) -> None:
    with sqlite3.connect(folder / "agent.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


@pytest.mark.acceptance("A1", "C6")
async def test_cancelling_what_needs_no_model_at_every_await_point(tmp_path: Path) -> None:
    """create, abort, close, delete: done wholly or not at all."""
    acts: list[Callable[[StatefulAgentLoop], Awaitable[Any]]] = [
        lambda loop: loop.create_session("new", system_prompt="be good"),
        lambda loop: loop.abort_pending("s"),
        lambda loop: loop.close_session("s"),
        lambda loop: loop.delete_session("s"),
    ]
    for number, act in enumerate(acts):
        for at in range(1, TOO_MANY):
            folder = tmp_path / f"{number}.{at}"
            folder.mkdir()
            agent = Agent(folder)
            with Suspensions(at) as points:
                async with agent.loop as loop:
                    await stopped(agent)
                    untouched = dump(folder)
                    acting = asyncio.ensure_future(act(loop))
                    points.arm(acting)
                    await asyncio.wait([acting])
                    points.disarm()
                    no_transaction(folder)
                    after = dump(folder)
                    again = await asyncio.wait_for(asyncio.gather(act(loop), return_exceptions=True), 10)
            if not points.struck:
                assert after != untouched
                break
            if after == untouched:
                assert not isinstance(again[0], Exception), "it had not happened, so it can"
        assert at > 1
