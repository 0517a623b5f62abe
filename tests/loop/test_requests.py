"""A request id names an input: it is stored once, whatever happens to the turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import ModelError, SessionBusyError, Status, tool
from power_loop.errors import ModelServerError, SessionClosedError
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import crashed, dump, open_loop, service, shown, stuck_in


async def inputs(loop: Any, session: str = "s") -> list[str]:
    return [message.text for message in await loop.get_messages(session) if message.role == "user"]


@pytest.mark.acceptance("B5")
async def test_the_same_request_again_returns_what_is_stored(tmp_path: Path) -> None:
    llm = ScriptedLLM(["hello"])
    async with open_loop(tmp_path, llm) as loop:
        await loop.create_session("s")
        first = await loop.send("hi", "s", request_id="r")
        before = dump(tmp_path)
        assert await loop.send("hi", "s", request_id="r") == first
        assert dump(tmp_path) == before
        assert len(llm.requests) == 1
    async with open_loop(tmp_path, ["never"]) as later:
        assert await later.send("hi", "s", request_id="r") == first
        await later.close_session("s")
        assert await later.send("hi", "s", request_id="r") == first, "also from a closed session"
        with pytest.raises(SessionClosedError):
            await later.send("hi", "s", request_id="another")


@pytest.mark.acceptance("B5")
async def test_a_request_id_counts_within_its_session(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["one", "two"]) as loop:
        for session in ("a", "b"):
            await loop.create_session(session)
        assert (await loop.send("hi", "a", request_id="r")).final_text == "one"
        assert (await loop.send("hi", "b", request_id="r")).final_text == "two"


@pytest.mark.acceptance("B5")
async def test_a_model_failure_keeps_the_input_and_resume_tries_again(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply.fails(500), Reply.fails(500), Reply(text="better now")])
    async with open_loop(tmp_path, service(server)) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelServerError) as caught:
            await loop.send("hi", "s")
        assert (caught.value.code, caught.value.status) == ("model.server", 500)
        assert await inputs(loop) == ["hi"]
        result = await loop.resume("s")
        assert (result.final_text, result.turn) == ("better now", 2)
        assert await inputs(loop) == ["hi"]
        assert [(turn.origin, turn.status) for turn in await loop.get_turns("s")] == [(1, "failed"), (1, "completed")]


@pytest.mark.acceptance("B5")
async def test_the_same_request_goes_on_after_a_failure(tmp_path: Path) -> None:
    llm = ScriptedLLM([ModelError("no"), ModelError("still no"), "yes", "more"])
    async with open_loop(tmp_path, llm) as loop:
        await loop.create_session("s")
        for _ in range(2):
            with pytest.raises(ModelError):
                await loop.send("hi", "s", request_id="r")
        result = await loop.send("hi", "s", request_id="r")
        assert result.final_text == "yes"
        assert await loop.send("hi", "s", request_id="r") == result
        assert [shown(request) for request in llm.requests] == [["user: hi"]] * 3


@pytest.mark.acceptance("B5")
async def test_the_same_request_goes_on_after_a_stop(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    async with open_loop(tmp_path, ["yes"]) as loop:
        await loop.create_session("s")
        assert (await loop.send("hi", "s", request_id="r", stop_event=stop)).status is Status.STOPPED
        assert (await loop.send("hi", "s", request_id="r")).final_text == "yes"
        assert await inputs(loop) == ["hi"]


@tool
async def b() -> str:
    """Runs."""
    return "b done"


@pytest.mark.acceptance("B5")
@pytest.mark.parametrize("way", ["resume", "abort", "on_pending"])
async def test_the_same_request_goes_on_after_a_crash(tmp_path: Path, way: str) -> None:
    await crashed(tmp_path, "s", "die", "b")  # its request id is "r"
    llm = ScriptedLLM(["done"])
    async with open_loop(tmp_path, llm, tools=[b]) as loop:
        if way == "abort":
            await loop.abort_pending("s")
        result = await loop.send("first", "s", request_id="r", on_pending="abort" if way == "on_pending" else "raise")
        assert result.final_text == "done"
        assert await inputs(loop) == ["first"]
        assert await loop.send("first", "s", request_id="r") == result
    told = shown(llm.requests[0])
    start = {"resume": "tool: [outcome unknown]", "abort": "tool: [aborted: a", "on_pending": "tool: [aborted: g"}[way]
    assert told[2].startswith(start)
    assert told[3] == "tool: b done" if way == "resume" else told[3].startswith("tool: [aborted: ")


@pytest.mark.acceptance("B5", "D1")
async def test_the_same_request_while_it_runs_waits_for_its_result(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def model(request: object) -> str:
        entered.set()
        await release.wait()
        return "once"

    llm = ScriptedLLM([model])
    async with open_loop(tmp_path, llm) as loop, open_loop(tmp_path, ["never"]) as other:
        await loop.create_session("s")
        first = asyncio.create_task(loop.send("hi", "s", request_id="r"))
        async with stuck_in(first, entered):
            for one in (loop, other):
                with pytest.raises(SessionBusyError):
                    await one.send("hi", "s", request_id="r", if_busy="raise")
            again = [asyncio.create_task(one.send("hi", "s", request_id="r")) for one in (loop, other)]
            await asyncio.sleep(0)
            release.set()
        assert await asyncio.gather(*again) == [await first] * 2
        assert len(llm.requests) == 1


@pytest.mark.acceptance("B5")
async def test_a_request_that_a_later_turn_has_answered_is_not_asked_again(tmp_path: Path) -> None:
    """Its turn failed, a later input went on: the model has seen both. Its outcome is its own, and no other's."""
    llm = ScriptedLLM([ModelError("no"), "an answer to both"])
    async with open_loop(tmp_path, llm) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelError):
            await loop.send("hi", "s", request_id="r")
        await loop.send("hello?", "s")
        result = await loop.send("hi", "s", request_id="r")
        assert (result.turn, result.status, result.final_text) == (1, "failed", "")
        assert await inputs(loop) == ["hi", "hello?"]


@pytest.mark.acceptance("B5")
async def test_calls_of_a_request_run_once_however_often_it_is_sent(tmp_path: Path) -> None:
    ran = []

    @tool
    async def work() -> str:
        """Works."""
        ran.append(1)
        return "worked"

    async with open_loop(tmp_path, [calls(("work", {})), ModelError("no"), "done"], tools=[work]) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelError):
            await loop.send("hi", "s", request_id="r")
        assert (await loop.send("hi", "s", request_id="r")).final_text == "done"
        assert ran == [1]
