"""G2: a reader in one process follows the turns of another, whose writer may be killed at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from power_loop import StatefulAgentLoop
from power_loop.engine import facts as f
from tests.events.kit import PATIENCE, all_events, database, facts_of, taken

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, tool

@tool(effect="read")
async def step(n: int) -> str:
    "Steps."
    return f"step {n}"

async def main(path, turns):
    script = [calls(("step", {"n": 1}), ("step", {"n": 2})), "done"] * turns
    async with StatefulAgentLoop(llm=ScriptedLLM(script), db_path=path, tools=[step]) as loop:
        for number in range(turns):
            await loop.send(f"turn {number}", "s")

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
FACTS = 7


def writer(path: Path, turns: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(turns)], cwd=ROOT, env=dict(os.environ))


@pytest.mark.acceptance("G2")
async def test_a_reader_follows_the_turns_of_another_process(tmp_path: Path) -> None:
    async with StatefulAgentLoop(db_path=database(tmp_path)) as loop, asyncio.timeout(PATIENCE):
        await loop.create_session("s")
        reading = asyncio.create_task(taken(loop.events("s"), 10 * FACTS))
        process = writer(database(tmp_path), 10)
        found = await reading
        assert await asyncio.to_thread(process.wait) == 0
        assert found == await all_events(loop, "s")
        assert [type(fact) for fact in facts_of(found)[:FACTS]] == [
            f.TurnBegan, f.CallsRequested, f.CallsStarted, f.CallSettled, f.CallSettled, f.RoundClosed,
            f.AnswerReceived,
        ]  # fmt: skip


@pytest.mark.acceptance("G2", "A1")
async def test_a_killed_writer_leaves_no_half_event_and_its_turn_ends_once(tmp_path: Path) -> None:
    async with StatefulAgentLoop(db_path=database(tmp_path)) as loop, asyncio.timeout(PATIENCE):
        await loop.create_session("s")
        events = loop.events("s")
        process = writer(database(tmp_path), 1_000)
        found = await taken(events, 3 * FACTS + 2)
        process.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
        await loop.recover("abort")
        last = (await all_events(loop, "s"))[-1].number
        assert last is not None
        found += await taken(events, last) if last > 3 * FACTS + 2 else []
        assert found == await all_events(loop, "s")
        live = 0
        for fact in facts_of(found):
            live += isinstance(fact, f.TurnBegan)
            live -= isinstance(fact, f.AnswerReceived | f.CallsAborted | f.TurnInterrupted)
            assert live in (0, 1)
        assert live == 0
