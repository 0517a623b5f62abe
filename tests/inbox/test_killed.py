"""The inbox across kills: whatever was stored is taken in once, in order, by whoever goes on with the session."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionPendingError, SessionState, StatefulAgentLoop, Status, tool
from tests.loop.kit import history_is_valid, open_loop, output_of, python, shown, valid

pytestmark = pytest.mark.acceptance("D2")

OWNER = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, tool

folder, effect, *inputs = sys.argv[1:]

@tool(effect=effect)
async def look() -> str:
    "Looks; by now everything waits that will."
    while True:
        if len(await loop.get_queued("s")) == len(inputs):
            os._exit(0)
        await asyncio.sleep(0)

loop = StatefulAgentLoop(llm=ScriptedLLM([calls(("look", {}))]), db_path=f"{folder}/agent.db", tools=[look])

async def main():
    await loop.create_session("s")
    first = asyncio.create_task(loop.send("first", "s", request_id="first"))
    while (await loop.get_session("s")).state != "running":
        await asyncio.sleep(0)
    rest = [asyncio.create_task(loop.send(text, "s", if_busy=text.split()[0], request_id=text)) for text in inputs]
    await asyncio.gather(first, *rest)

asyncio.run(main())
"""
INPUTS = ("steer 1", "wait 1", "steer 2", "wait 2")


@tool(effect="read")
async def look() -> str:
    """Looks."""
    return "seen"


async def killed(folder: Path, *inputs: str, effect: str = "read") -> None:
    assert await output_of(python(OWNER, folder, effect, *inputs)) == ""


async def users(loop: StatefulAgentLoop) -> list[tuple[int, str]]:
    return [(message.turn, message.text) for message in await loop.get_messages("s") if message.role == "user"]


async def test_resume_takes_in_what_steered_and_runs_what_waited(tmp_path: Path) -> None:
    await killed(tmp_path, *INPUTS)
    llm = ScriptedLLM(["resumed", "to wait 1", "to wait 2"])
    async with open_loop(tmp_path, llm, tools=[look]) as loop:
        info = await loop.get_session("s")
        assert (info.state, info.queued) == (SessionState.INTERRUPTED_IN_TOOLS, 4)
        assert [waiting.text for waiting in await loop.get_queued("s")] == list(INPUTS)
        result = await loop.resume("s")
        assert (result.turn, result.status, result.final_text) == (2, Status.COMPLETED, "resumed")
        assert await users(loop) == [(1, "first"), (2, "steer 1"), (2, "steer 2"), (3, "wait 1"), (4, "wait 2")]
        assert shown(llm.requests[0])[-3:] == ["tool: seen", "user: steer 1", "user: steer 2"]
        assert valid(*llm.requests)
        assert await history_is_valid(loop, "s")
        # Careful clients send what they never heard of again: nothing is stored twice, and no model is asked.
        again = [await loop.send(text, "s", request_id=text, if_busy="steer") for text in ("first", *INPUTS)]
        assert [(one.turn, one.final_text) for one in again] == [
            (2, "resumed"), (2, "resumed"), (3, "to wait 1"), (2, "resumed"), (4, "to wait 2"),
        ]  # fmt: skip
        assert len(llm.requests) == 3


async def test_recover_does_so_too_and_once(tmp_path: Path) -> None:
    await killed(tmp_path, *INPUTS)
    script = ["resumed", "to wait 1", "to wait 2"]
    async with open_loop(tmp_path, script, tools=[look]) as one, open_loop(tmp_path, script, tools=[look]) as other:
        taken = [
            entry for found in await asyncio.gather(one.recover("resume"), other.recover("resume")) for entry in found
        ]
        assert {entry.error for entry in taken} == {None}
        assert await users(one) == [(1, "first"), (2, "steer 1"), (2, "steer 2"), (3, "wait 1"), (4, "wait 2")]
        assert await one.recover("resume") == []
        assert await history_is_valid(one, "s")


async def test_a_sender_that_died_while_the_owner_lives_leaves_its_input_to_recover(tmp_path: Path) -> None:
    """The turn was answered by its owner; the process that waited behind it is dead."""
    await killed(tmp_path, "wait 1")
    async with open_loop(tmp_path, tools=[look]) as bare:
        await bare.abort_pending("s")
        assert (await bare.get_session("s")).needs_attention
        assert await bare.recover("report") == []  # nothing was cut off
    async with open_loop(tmp_path, ["to wait 1"], tools=[look]) as loop:
        [entry] = await loop.recover("resume")
        assert (entry.action, entry.result and entry.result.final_text) == ("inputs", "to wait 1")
        assert await users(loop) == [(1, "first"), (2, "wait 1")]


async def test_a_new_input_comes_after_what_the_dead_left(tmp_path: Path) -> None:
    await killed(tmp_path, "wait 1", "steer 1")
    async with open_loop(tmp_path, ["to wait 1", "to steer 1", "to new"], tools=[look]) as loop:
        with pytest.raises(SessionPendingError):
            await loop.send("new", "s")
        assert len(await loop.get_queued("s")) == 2
        result = await loop.send("new", "s", on_pending="abort")
        assert (result.final_text, await loop.get_queued("s")) == ("to new", [])
        assert await users(loop) == [(1, "first"), (2, "wait 1"), (3, "steer 1"), (4, "new")]
        assert await history_is_valid(loop, "s")


async def test_abort_needs_nothing_and_leaves_what_waits_to_the_next_send(tmp_path: Path) -> None:
    await killed(tmp_path, "wait 1", effect="once")
    async with open_loop(tmp_path) as bare:
        assert len(await bare.abort_pending("s")) == 1
        assert [waiting.text for waiting in await bare.get_queued("s")] == ["wait 1"]
    async with open_loop(tmp_path, ["to wait 1", "to new"]) as loop:
        assert (await loop.send("new", "s", if_busy="raise")).final_text == "to new"
        assert await users(loop) == [(1, "first"), (2, "wait 1"), (3, "new")]


async def test_an_input_that_fails_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    await killed(tmp_path, "wait 1", "wait 2")
    script = ["resumed", ConnectionError("no model"), "to wait 2"]
    async with open_loop(tmp_path, script, tools=[look]) as loop:
        await loop.resume("s")
        assert [waiting.text for waiting in await loop.get_queued("s")] == ["wait 2"]
        assert (await loop.get_session("s")).state is SessionState.FAILED
        assert (await loop.send("wait 2", "s", request_id="wait 2")).final_text == "to wait 2"


def test_an_input_of_the_inbox_is_in_one_place_at_any_time(tmp_path: Path) -> None:
    asyncio.run(killed(tmp_path, *INPUTS))
    with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
        told = db.execute("SELECT mode, request_id, turn, seq, body IS NOT NULL FROM inputs ORDER BY number").fetchall()
        assert told == [(text.split()[0], text, None, None, 1) for text in INPUTS]
        waiting = db.execute("SELECT state, request_id, body FROM v_inputs").fetchall()
        assert waiting == [("waiting", text, f'{{"role":"user","content":"{text}"}}') for text in INPUTS]


async def test_a_retry_that_is_refused_leaves_what_was_sent_before_in_its_place(tmp_path: Path) -> None:
    await killed(tmp_path, "wait 1", effect="once")
    async with open_loop(tmp_path, ["resumed", "to wait 1"], tools=[look]) as loop:
        with pytest.raises(SessionPendingError):
            await loop.send("wait 1", "s", request_id="wait 1")
        assert [waiting.request_id for waiting in await loop.get_queued("s")] == ["wait 1"]
        await loop.abort_pending("s")
        assert (await loop.send("wait 1", "s", request_id="wait 1")).turn == 2
        assert await users(loop) == [(1, "first"), (2, "wait 1")]
