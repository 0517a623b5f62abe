"""Recovery never loops: it is counted before it is made, and after so many without progress a person decides."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from power_loop import (
    InputInvalidError,
    SessionPendingError,
    SessionQuarantinedError,
    SessionState,
    Status,
    open_store,
    tool,
)
from power_loop.store.contract import Input
from power_loop.values import SessionId
from tests.loop.kit import ROOT, dump, history_is_valid, open_loop

pytestmark = pytest.mark.acceptance("B9")

CHILD = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import AgentLoopConfig, StatefulAgentLoop, tool

# Arguments: folder, effect of the tool, what to do. The tool named `poison` kills the process, and so does the model
# over the input "poison"; any other is not answered before that.
folder, effect, way, *sessions = sys.argv[1:]
asked = 0

async def model(request):
    global asked
    asked += 1
    if '"bystander"' in request.messages[-1]:
        await (asyncio.sleep(0) if way == "recover" else asyncio.Event().wait())
        return says("fine")
    if '"poison"' in request.messages[-1]:
        while asked < len(sessions):
            await asyncio.sleep(0)
        os._exit(9)
    return calls(("poison", {}))

@tool(effect=effect)
async def poison() -> str:
    "Kills."
    os._exit(9)

async def main():
    llm, config = ScriptedLLM([model] * 50), AgentLoopConfig(max_recoveries=2)
    async with StatefulAgentLoop(llm=llm, db_path=f"{folder}/agent.db", tools=[poison], config=config) as loop:
        if way in ("go", "poison"):
            for session in sessions:
                await loop.create_session(session)
            texts = [way, *["bystander"] * len(sessions)]
            await asyncio.gather(*(loop.send(text, session, request_id="r") for text, session in zip(texts, sessions)))
        else:
            for entry in await loop.recover("resume"):
                print(entry.session_id, entry.action, entry.error and entry.error.code)

asyncio.run(main())
"""


def run(folder: Path, effect: str, way: str, *sessions: str) -> tuple[int, list[str]]:
    """How a process ended (9: poisoned), and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), effect, way, *sessions],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 9), done.stderr
    return done.returncode, done.stdout.splitlines()


def counted(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "agent.db")) as db:
        [(recoveries,)] = db.execute("SELECT recoveries FROM v_sessions WHERE session_id = 's'").fetchall()
        return int(recoveries)


@tool(effect="read")
async def poison() -> str:
    """Harmless by now."""
    return "cured"


def poisoned(folder: Path, effect: str, way: str = "go") -> None:
    """A session that killed its first process and two that took it up; the third leaves it alone."""
    assert run(folder, effect, way, "s")[0] == 9
    for recoveries in (1, 2):
        assert run(folder, effect, "recover")[0] == 9
        assert counted(folder) == recoveries, "counted before it is made"
    assert run(folder, effect, "recover") == (0, ["s quarantine session.quarantined"])


@pytest.mark.parametrize("effect", ["read", "idempotent", "once"])
async def test_a_tool_that_kills_every_recovery_is_left_alone_after_so_many(tmp_path: Path, effect: str) -> None:
    poisoned(tmp_path, effect)
    assert run(tmp_path, effect, "recover") == (0, []), "nothing is left to take up"
    before = dump(tmp_path)
    async with open_loop(tmp_path, ["never"], tools=[poison]) as loop:
        info = await loop.get_session("s")
        assert (info.state, info.recoveries, info.needs_attention) == (SessionState.QUARANTINED, 2, True)
        assert (await loop.list_sessions())[0].state is SessionState.QUARANTINED
        for refused in (loop.resume("s"), loop.send("more", "s"), loop.send("more", "s", on_pending="resume")):
            with pytest.raises(SessionQuarantinedError) as caught:
                await refused
            assert caught.value.code == "session.quarantined"
            assert isinstance(caught.value, SessionPendingError)
            assert [call.name for call in caught.value.calls] == ["poison"]
            assert "free_session('s')" in str(caught.value)
        with pytest.raises(SessionQuarantinedError):
            await loop.send("go", "s", request_id="r")
    assert dump(tmp_path) == before


async def test_a_person_frees_it(tmp_path: Path) -> None:
    poisoned(tmp_path, "read")
    async with open_loop(tmp_path, ["all well"], tools=[poison]) as loop:
        assert await loop.free_session("s") is True
        assert await loop.free_session("s") is False
        info = await loop.get_session("s")
        assert (info.state, info.recoveries) == (SessionState.INTERRUPTED_IN_TOOLS, 0)
        assert (await loop.resume("s")).final_text == "all well"
        assert (await loop.get_session("s")).state is SessionState.IDLE
        assert await history_is_valid(loop, "s")


async def test_it_can_be_given_up_offline_and_goes_on(tmp_path: Path) -> None:
    poisoned(tmp_path, "idempotent")
    async with open_loop(tmp_path) as bare:
        assert len(await bare.abort_pending("s")) == 1
        assert (await bare.get_session("s")).state is SessionState.STOPPED
    async with open_loop(tmp_path, ["on we go"]) as loop:
        assert (await loop.send("next", "s")).final_text == "on we go"


@pytest.mark.parametrize("way", ["abort", "resolve"])
async def test_what_a_person_says_of_its_calls_frees_it_too(tmp_path: Path, way: str) -> None:
    poisoned(tmp_path, "read")
    async with open_loop(tmp_path, ["on we go"]) as loop:
        if way == "abort":
            assert (await loop.send("next", "s", on_pending="abort")).final_text == "on we go"
        else:
            [call] = await loop.get_pending("s")
            await loop.resolve("s", call.id, "by hand")
            assert (await loop.resume("s")).final_text == "on we go"
        assert (await loop.get_session("s")).recoveries == 0


async def test_a_model_request_that_kills_is_left_alone_too(tmp_path: Path) -> None:
    poisoned(tmp_path, "read", "poison")
    async with open_loop(tmp_path, ["heard"]) as loop:
        with pytest.raises(SessionQuarantinedError) as caught:
            await loop.resume("s")
        assert caught.value.calls == ()
        assert (await loop.send("something else", "s")).final_text == "heard", "no call is open: it blocks nothing"
        assert (await loop.get_session("s")).state is SessionState.IDLE


async def test_input_that_a_dead_sender_left_does_not_free_it(tmp_path: Path) -> None:
    poisoned(tmp_path, "read", "poison")
    store = await open_store(tmp_path / "agent.db")
    await store.queue_input(Input(session=SessionId("s"), body='{"role":"user","content":"later"}'))
    await store.aclose()
    async with open_loop(tmp_path, ["never"]) as loop:
        assert await loop.recover("resume") == []
        with pytest.raises(SessionQuarantinedError):
            await loop.resume("s")
        conductor = await loop._open(for_turns=True)
        assert await conductor.store.begin_next(SessionId("s"), None) is None
        assert (await loop.get_session("s")).state is SessionState.QUARANTINED


async def test_progress_begins_the_count_anew(tmp_path: Path) -> None:
    assert run(tmp_path, "read", "go", "s")[0] == 9
    for _ in range(2):
        assert run(tmp_path, "read", "recover")[0] == 9
    async with open_loop(tmp_path, ["all well"], tools=[poison], max_recoveries=3) as loop:
        assert (await loop.resume("s")).status is Status.COMPLETED
        assert (await loop.get_session("s")).recoveries == 0


async def test_a_failing_model_is_no_recovery_that_died(tmp_path: Path) -> None:
    script: list[Any] = [ConnectionError("down")] * 6
    async with open_loop(tmp_path, [*script, "up again"], max_recoveries=1) as loop:
        await loop.create_session("s")
        for attempt in range(6):
            with pytest.raises(Exception, match="down"):
                await (loop.resume("s") if attempt else loop.send("hi", "s"))
        assert (await loop.resume("s")).final_text == "up again"


def test_a_poisoned_session_drags_no_other_into_quarantine(tmp_path: Path) -> None:
    """All are cut off together, and taken up together. One kills again; alone, it can only count against itself."""
    others = [f"s{number}" for number in range(9)]
    assert run(tmp_path, "once", "poison", "poisoned", *others)[0] == 9
    assert run(tmp_path, "once", "recover all at once", "poisoned", *others)[0] == 9
    with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
        assert db.execute("SELECT count(*) FROM sessions WHERE recoveries = 1").fetchall() == [(10,)]
    assert run(tmp_path, "once", "recover")[0] == 9
    code, said = run(tmp_path, "once", "recover")
    assert code == 0
    assert sorted(said) == ["poisoned quarantine session.quarantined", *(f"{one} resume None" for one in others)]


def test_bad_policies_are_refused(tmp_path: Path) -> None:
    async def refused(policy: Any, **more: Any) -> None:
        async with open_loop(tmp_path, ["x"]) as loop:
            with pytest.raises(InputInvalidError):
                await loop.recover(policy, **more)

    for policy in ("run", None, {"*": "run"}, {1: "resume"}, ["resume"]):
        asyncio.run(refused(policy))
    for jitter in (-1, "1", True, float("inf")):
        asyncio.run(refused("report", jitter=jitter))
