"""`recover` after a deploy that cut many sessions off at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, says
from llm_client.service import ChatRequest
from power_loop import SessionState, StatefulAgentLoop, Status, World, tool
from power_loop.stateful_loop.recovery import AT_ONCE
from tests.loop.kit import crashed, open_loop

ROOT = Path(__file__).parents[2]
SESSIONS = AT_ONCE + 8

DIES = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop

waiting = 0

async def hang(request):
    global waiting
    waiting += 1
    if waiting == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    await asyncio.Event().wait()

async def main():
    loop = StatefulAgentLoop(llm=ScriptedLLM([hang] * int(sys.argv[2])), db_path=sys.argv[1])
    ids = [await loop.create_session(f"s{n}") for n in range(int(sys.argv[2]))]
    await asyncio.gather(*(loop.send("hi", one) for one in ids))

asyncio.run(main())
"""


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    """A database whose owner died with a turn running in every session."""
    path = tmp_path / "a.db"
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(path), str(SESSIONS)], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.returncode == -9
    return path


@pytest.mark.acceptance("B4")
async def test_many_are_resumed_but_not_all_at_once(cut_off: Path) -> None:
    running = most = 0
    full = asyncio.Event()

    async def answer(request: ChatRequest) -> AssistantMessage:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == AT_ONCE:
            full.set()
        await full.wait()
        await asyncio.sleep(0.1)  # whoever is let in beyond the limit is counted
        running -= 1
        return says("here again")

    llm = ScriptedLLM([answer] * SESSIONS)
    async with StatefulAgentLoop(llm=llm, db_path=cut_off) as loop:
        taken = await loop.recover("resume", jitter=0)
        assert len({entry.session_id for entry in taken}) == len(taken) == SESSIONS
        assert {entry.result.status for entry in taken if entry.result} == {Status.COMPLETED}
        assert most == AT_ONCE
        assert await loop.recover("resume") == []


@pytest.mark.acceptance("B4")
async def test_an_archived_session_is_written_down_once_and_not_resumed(cut_off: Path) -> None:
    llm = ScriptedLLM(["here again"] * SESSIONS)
    async with StatefulAgentLoop(llm=llm, db_path=cut_off) as loop:
        await loop.archive_session("s0")
        taken = {entry.session_id: entry for entry in await loop.recover("resume")}
        assert (taken["s0"].action, taken["s0"].error) == ("report", None)
        assert (await loop.get_session("s0")).state is SessionState.INTERRUPTED_BEFORE_MODEL
        assert len(llm.requests) == SESSIONS - 1
        assert await loop.recover("resume") == []


@tool(effect="read")
async def look() -> str:
    """Looks."""
    return "look done"


@tool
async def pay() -> str:
    """Pays."""
    return "pay done"


@pytest.mark.acceptance("B4")
async def test_the_policy_may_differ_by_tool_and_the_most_careful_counts(tmp_path: Path) -> None:
    for session, wanted in {"a": ("die", "look"), "b": ("die", "pay"), "c": ("die", "look", "pay"), "d": ()}.items():
        await crashed(tmp_path, session, *wanted)
    async with open_loop(tmp_path, ["went on"] * 4, tools=[look, pay]) as loop:
        policy = {"*": "resume", "look": "abort", "pay": "report"}
        taken = {entry.session_id: entry for entry in await loop.recover(policy)}  # type: ignore[arg-type]
        assert {session: entry.action for session, entry in taken.items()} == {
            "a": "abort", "b": "report", "c": "report", "d": "resume",
        }  # fmt: skip
        assert [len(taken[session].pending) for session in "abcd"] == [0, 2, 3, 0]
        assert await loop.recover(policy) == []  # type: ignore[arg-type]


@pytest.mark.acceptance("B4")
async def test_beginnings_are_spread_by_chance(cut_off: Path) -> None:
    """Every session is given a part of the time by chance; with none, all begin at once."""
    drawn: list[float] = []

    def chance() -> float:
        drawn.append(len(drawn) / SESSIONS)
        return drawn[-1]

    llm = ScriptedLLM(["here again"] * SESSIONS)
    async with StatefulAgentLoop(llm=llm, db_path=cut_off, world=World(random=chance)) as loop:
        assert len(await loop.recover("resume", jitter=0.1)) == SESSIONS
        assert len(drawn) == SESSIONS
        assert await loop.recover("resume") == []
    assert len(drawn) == SESSIONS
