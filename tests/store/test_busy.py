"""Another program holds the write lock: the event loop goes on, and the commit waits for it or says so."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, StatefulAgentLoop, StoreBusyError, World, open_store
from power_loop.store.contract import NewSession
from power_loop.values import SessionId
from tests.store.kit import a_loop, child, dump, says, tell

pytestmark = pytest.mark.acceptance("A2")

HOLDER = """
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("released", flush=True)
"""


async def test_a2_the_event_loop_runs_on_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    begins: asyncio.Queue[str] = asyncio.Queue()
    here = asyncio.get_running_loop()
    world = World(reached=lambda point: point == "sql.begin" and here.call_soon_threadsafe(begins.put_nowait, point))
    config = AgentLoopConfig(busy_timeout=60)
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=path, config=config, world=world) as loop:
        await loop.create_session("s")
        while not begins.empty():
            begins.get_nowait()
        with child(HOLDER, path) as holder:
            says(holder, "held")
            sending = asyncio.create_task(loop.send("hi", "s"))
            await begins.get()  # the commit of the send begins to wait
            beats = 0
            for _ in range(25):
                await asyncio.sleep(0.01)
                beats += not sending.done()
                assert (await loop.get_session("s")).turns == 0  # and readers read on
            assert beats == 25
            tell(holder)
            says(holder, "released")
            assert (await sending).final_text == "hello"


async def test_a2_a_short_patience_ends_in_store_busy_with_the_state_as_before(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with a_loop(path, ["hello"], busy_timeout=0.05) as loop:
        await loop.create_session("s")
        before = dump(path)
        with child(HOLDER, path) as holder:
            says(holder, "held")
            with pytest.raises(StoreBusyError) as caught:
                await loop.send("hi", "s")
            assert caught.value.code == "store.busy"
            assert str(path) in str(caught.value)
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            assert dump(path) == before
            tell(holder)
            says(holder, "released")
        assert (await loop.send("hi", "s")).final_text == "hello"


async def test_a2_those_who_wait_together_wait_once(tmp_path: Path) -> None:
    """Ten commits that wait for a lock hear of it together: none waits for the patience of the others first."""
    path = tmp_path / "agent.db"
    begins = 0

    def reached(point: str) -> None:
        nonlocal begins
        begins += point == "sql.begin"

    store = await open_store(path, busy_timeout=0.05, world=World(reached=reached))
    with child(HOLDER, path) as holder:
        says(holder, "held")
        begins = 0
        made = [store.create_session(NewSession(id=SessionId(f"s{number}"))) for number in range(10)]
        outcomes = await asyncio.gather(*made, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreBusyError] * 10
        assert begins == 1
    await store.aclose()
