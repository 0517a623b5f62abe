"""A model is asked while a commit is under way; nothing else happens before it is on disk, and a failed one is told."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest, TextDelta
from power_loop import SessionState, StatefulAgentLoop, StoreError, World, tool
from power_loop.engine import facts as f
from tests.loop.kit import history_is_valid, no_transaction, until, until_true

Answer = Callable[[ChatRequest], Awaitable[Any]]


class Disk:
    """The next commit, once this is armed: it waits until it is let go, and fails if it is to."""

    def __init__(self) -> None:
        self.armed = False
        self.fails = False
        self.go = threading.Event()

    def __call__(self, point: str) -> None:
        if point == "sql.commit" and self.armed:
            self.armed = False
            assert self.go.wait(10)
            if self.fails:
                raise sqlite3.OperationalError("disk I/O error")

    def loop(self, folder: Path, script: list[Any], tools: Any = ()) -> StatefulAgentLoop:
        return StatefulAgentLoop(
            llm=ScriptedLLM(script), db_path=folder / "agent.db", tools=tools, world=World(reached=self)
        )


def inputs(folder: Path) -> int:
    """How many inputs another program sees."""
    with closing(sqlite3.connect(folder / "agent.db", isolation_level=None)) as other:
        found: int = other.execute("SELECT count(*) FROM messages WHERE role = 'user'").fetchone()[0]
        return found


class Hangs:
    """A model that never answers."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.cancelled = asyncio.Event()

    async def __call__(self, request: ChatRequest) -> str:
        self._disk.go.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return "never"


@pytest.mark.acceptance("A1")
async def test_the_model_is_asked_while_the_input_is_on_its_way_and_the_answer_waits_for_it(tmp_path: Path) -> None:
    disk, seen = Disk(), []

    async def model(request: ChatRequest) -> str:
        seen.append(inputs(tmp_path))
        disk.go.set()
        return "hello again"

    async with disk.loop(tmp_path, ["hello", model]) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        disk.armed = True
        assert (await loop.send("two", "s")).final_text == "hello again"
        assert seen == [1], "the second input was not on disk when the model was asked"
        assert inputs(tmp_path) == 2
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("A1", "A7", "L7")
async def test_an_input_that_cannot_be_stored_ends_the_question_and_leaves_nothing(tmp_path: Path) -> None:
    disk = Disk()
    hangs = Hangs(disk)
    async with disk.loop(tmp_path, ["hello", hangs, "here I am"]) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        disk.armed = disk.fails = True
        with pytest.raises(StoreError, match="disk"):
            async with asyncio.timeout(10):
                await loop.send("two", "s")
        await until(hangs.cancelled)
        no_transaction(tmp_path)
        assert inputs(tmp_path) == 1
        assert [turn.status for turn in await loop.get_turns("s")] == ["completed"]
        assert (await loop.get_session("s")).state is SessionState.IDLE
        assert (await loop.send("three", "s")).final_text == "here I am"
        assert [message.text for message in await loop.get_messages("s")] == ["one", "hello", "three", "here I am"]


@pytest.mark.acceptance("A1", "B1", "L7")
async def test_results_that_cannot_be_stored_end_the_question_and_leave_the_call_in_doubt(tmp_path: Path) -> None:
    disk, ran = Disk(), []
    hangs = Hangs(disk)

    @tool
    async def pay() -> str:
        """Pays."""
        ran.append(1)
        disk.armed = disk.fails = True
        return "paid"

    async with disk.loop(tmp_path, [calls(("pay", {})), hangs, "I will look"], [pay]) as loop:
        await loop.create_session("s")
        with pytest.raises(StoreError, match="disk"):
            async with asyncio.timeout(10):
                await loop.send("go", "s")
        await until(hangs.cancelled)
        no_transaction(tmp_path)
        [call] = await loop.get_pending("s")
        assert (call.name, call.state, ran) == ("pay", "in_doubt", [1])
        assert (await loop.resume("s")).final_text == "I will look"
        assert ran == [1]
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("C6", "A1")
async def test_a_caller_cancelled_before_the_claim_is_on_disk_leaves_a_turn_that_was_cancelled(tmp_path: Path) -> None:
    disk, asked = Disk(), asyncio.Event()

    async def model(request: ChatRequest) -> str:
        asked.set()
        await asyncio.Event().wait()
        return "never"

    async with disk.loop(tmp_path, ["hello", model, "here I am"]) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        disk.armed = True
        sending = asyncio.create_task(loop.send("two", "s"))
        await until(asked)
        sending.cancel()
        disk.go.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert [turn.status for turn in await loop.get_turns("s")] == ["completed", "cancelled"]
        assert inputs(tmp_path) == 2
        assert (await loop.resume("s")).final_text == "here I am"


@pytest.mark.acceptance("A1", "B1")
async def test_no_function_is_entered_before_the_claim_and_the_start_are_on_disk(tmp_path: Path) -> None:
    disk, seen = Disk(), []

    @tool
    async def look() -> str:
        """Looks what another program sees."""
        with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as other:
            seen.append(other.execute("SELECT state FROM calls").fetchall())
        return "seen"

    async def model(request: ChatRequest) -> Any:
        asyncio.get_running_loop().call_later(0.05, disk.go.set)  # the answer is there long before the commit
        return calls(("look", {}))

    async with disk.loop(tmp_path, ["hello", model, "done"], [look]) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        disk.armed = True
        await loop.send("two", "s")
    assert seen == [[("started",)]]


@pytest.mark.acceptance("A1", "B1")
async def test_results_reach_the_disk_while_the_model_thinks_about_them(tmp_path: Path) -> None:
    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        return "seen"

    async def model(request: ChatRequest) -> str:
        await until_true(lambda: all_succeeded(loop))
        return "done"

    async with Disk().loop(tmp_path, [calls(("look", {}), ("look", {})), model], [look]) as loop:
        await loop.create_session("s")
        assert (await loop.send("go", "s")).final_text == "done"


async def all_succeeded(loop: StatefulAgentLoop) -> bool:
    return [str(call.state) for call in await loop.get_calls("s")] == ["succeeded"] * 2


@pytest.mark.acceptance("G2")
async def test_listeners_hear_of_results_before_what_the_model_says_of_them(tmp_path: Path) -> None:
    disk = Disk()

    @tool
    async def look() -> str:
        """Looks."""
        disk.armed = True
        return "seen"

    async def let_go() -> None:
        while disk.armed:  # noqa: ASYNC110 - a thread disarms it
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        disk.go.set()

    async with disk.loop(tmp_path, [calls(("look", {})), "done"], [look]) as loop:
        await loop.create_session("s")
        events: list[object] = []
        waiting = None
        async for event in loop.stream("go", "s"):
            events.append(event)
            if isinstance(event, f.CallsStarted):
                waiting = asyncio.create_task(let_go())
        assert waiting is not None
        await waiting
    kinds = [type(event) for event in events]
    assert kinds.index(f.RoundClosed) < kinds.index(TextDelta)


KILLED = """
import asyncio, os, sys, threading
from power_loop import ScriptedLLM, StatefulAgentLoop, World

armed = threading.Event()

def reached(point):
    if point == "sql.commit" and armed.is_set():
        threading.Event().wait()

async def dies(request):
    os._exit(9)

async def main():
    async with StatefulAgentLoop(
        llm=ScriptedLLM(["hello", dies]), db_path=sys.argv[1], world=World(reached=reached)
    ) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        armed.set()
        await loop.send("two", "s", request_id="r")

asyncio.run(main())
"""


@pytest.mark.acceptance("A1", "B5")
async def test_a_kill_between_the_question_and_its_commit_leaves_what_was_before(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
        [sys.executable, "-c", KILLED, str(tmp_path / "agent.db")], timeout=60, check=False
    )
    assert done.returncode == 9
    async with Disk().loop(tmp_path, ["here I am"]) as loop:
        assert (await loop.get_session("s")).state is SessionState.IDLE
        assert inputs(tmp_path) == 1
        assert (await loop.send("two", "s", request_id="r")).final_text == "here I am"
        await loop.send("two", "s", request_id="r")
        assert [message.text for message in await loop.get_messages("s")] == ["one", "hello", "two", "here I am"]
