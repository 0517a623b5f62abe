"""A stopped owner is not replaced except by force; then its late writes are refused, and it says so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionBusyError, SessionState, StatefulAgentLoop, Status, tool

ROOT = Path(__file__).parents[2]

OWNER = """
import asyncio, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import EpochLostError, StatefulAgentLoop, tool

@tool
async def work() -> str:
    "Works until told to go on."
    print("working", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return "done"

async def main():
    llm = ScriptedLLM([calls(("work", {})), "finished"])
    async with StatefulAgentLoop(llm=llm, db_path=sys.argv[1], tools=[work]) as loop:
        await loop.create_session("s")
        try:
            await loop.send("go", "s")
        except EpochLostError as error:
            print("lost", error.ours, error.current, flush=True)
        else:
            print("kept", flush=True)

asyncio.run(main())
"""


@tool
def work() -> str:
    """Never runs here: the call is in doubt."""
    raise AssertionError("a once call in doubt was repeated")


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "a.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    """What the owner says once it goes on."""
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate("go on\n", timeout=30)
    return said


@pytest.mark.acceptance("D1")
async def test_a_stopped_owner_is_replaced_only_by_force_and_loses_its_epoch(
    owner: subprocess.Popen[str], tmp_path: Path
) -> None:
    async with StatefulAgentLoop(llm=ScriptedLLM(["taken over"]), db_path=tmp_path / "a.db", tools=[work]) as loop:
        assert (await loop.get_session("s")).state is SessionState.RUNNING
        with pytest.raises(SessionBusyError) as busy:
            await loop.resume("s", if_busy="raise")
        assert f":{owner.pid}:" in busy.value.owner
        with pytest.raises(SessionBusyError):
            await loop.abort_pending("s")
        assert await loop.recover("report") == []

        result = await loop.resume("s", force=True)
        assert (result.status, result.final_text) == (Status.COMPLETED, "taken over")
        before = [(m.seq, m.body) for m in await loop.get_messages("s")]

        said = await asyncio.to_thread(heard, owner)
        assert said == "lost 1 2\n"
        assert [(m.seq, m.body) for m in await loop.get_messages("s")] == before
        assert [call.state for call in await loop.get_calls("s")] == ["reported"]


@pytest.mark.acceptance("D1")
@pytest.mark.acceptance("B3")
async def test_a_stopped_owners_calls_can_be_aborted_by_force(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    async with StatefulAgentLoop(db_path=tmp_path / "a.db") as loop:
        (aborted,) = await loop.abort_pending("s", reason="it hangs", force=True)
        assert (await loop.get_session("s")).state is SessionState.STOPPED
        assert (await asyncio.to_thread(heard, owner)).startswith("lost 1 ")
        (call,) = await loop.get_calls("s")
        assert (call.id, call.state) == (aborted, "aborted")
