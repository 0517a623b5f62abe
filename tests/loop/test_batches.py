"""Calls of one answer: side by side where their tools allow it, one by one where not, shown in the order asked for."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import CallState, Status, ToolContext, tool
from power_loop.engine import facts as f
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import FOREVER, Latch, history_is_valid, open_loop, service, shown, until, until_true, valid


@pytest.mark.acceptance("C3")
async def test_three_parallel_calls_overlap_and_are_shown_in_call_order(tmp_path: Path) -> None:
    latch, done = Latch(3), [asyncio.Event() for _ in range(4)]
    done[3].set()
    finished: list[int] = []

    @tool(parallel=True)
    async def step(n: int) -> str:
        """Goes on once all three are in, and ends after the one asked for next."""
        await latch.pass_()
        await until(done[n + 1])
        finished.append(n)
        done[n].set()
        return f"step {n}"

    llm = ScriptedLLM([calls(*(("step", {"n": n}) for n in range(3))), "done"])
    async with open_loop(tmp_path, llm, tools=[step]) as loop:
        result = await loop.send("go")
        assert finished == [2, 1, 0]
        assert shown(llm.requests[1])[2:] == ["tool: step 0", "tool: step 1", "tool: step 2"]
        assert [message.text for message in await loop.get_messages(result.session_id)][2:5] == [
            "step 0",
            "step 1",
            "step 2",
        ]
        assert valid(*llm.requests)


@pytest.mark.acceptance("C3")
async def test_over_the_wire_too(tmp_path: Path, server: ScriptedServer) -> None:
    latch = Latch(3)

    @tool(effect="read")
    async def step(n: int) -> str:
        """Goes on once all three are in."""
        await latch.pass_()
        return f"step {n}"

    server.use([Reply.calling(*(("step", {"n": n}) for n in range(3))), Reply(text="done")])
    async with open_loop(tmp_path, service(server), tools=[step]) as loop:
        await loop.send("go")
    assert [message["content"] for message in server.requests[1].messages][2:] == ["step 0", "step 1", "step 2"]


@pytest.mark.acceptance("C3")
async def test_a_call_that_is_not_parallel_is_a_barrier(tmp_path: Path) -> None:
    log: list[str] = []
    first, last = Latch(2), Latch(2)

    @tool(effect="read")
    async def look(n: int) -> str:
        """Looks, in pairs."""
        log.append("look in")
        await (first if n < 2 else last).pass_()
        log.append("look out")
        return str(n)

    @tool
    async def write() -> str:
        """Writes alone."""
        log.append("write in")
        for _ in range(5):
            await asyncio.sleep(0)
        log.append("write out")
        return "written"

    look_at = [("look", {"n": n}) for n in range(4)]
    script = [calls(*look_at[:2], ("write", {}), ("write", {}), *look_at[2:]), "done"]
    async with open_loop(tmp_path, script, tools=[look, write]) as loop:
        await loop.send("go")
    pair = ["look in", "look in", "look out", "look out"]
    assert log == [*pair, "write in", "write out", "write in", "write out", *pair]


@pytest.mark.acceptance("C3")
async def test_a_once_tool_waits_until_its_start_alone_is_on_disk(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    @tool
    async def write(context: ToolContext) -> str:
        """Looks at its own ledger while it runs."""
        seen.append([str(call.state) for call in await loop.get_calls(context.session_id)])
        return "ok"

    loop = open_loop(tmp_path, [calls(("write", {}), ("write", {})), "done"], tools=[write])
    async with loop:
        await loop.send("go")
    assert seen == [["started", "requested"], ["succeeded", "started"]]


@pytest.mark.acceptance("C4")
async def test_a_sync_tool_blocks_neither_the_loop_nor_its_neighbours(tmp_path: Path) -> None:
    release, both = threading.Event(), threading.Barrier(2)

    @tool(effect="read")
    def block() -> str:
        """Blocks its thread until the event loop lets it go, and until another is blocked beside it."""
        both.wait(10)
        return "released" if release.wait(10) else "never released"

    @tool(effect="read")
    async def let_go() -> str:
        """Runs on the event loop meanwhile."""
        release.set()
        return "let go"

    llm = ScriptedLLM([calls(("block", {}), ("block", {}), ("let_go", {})), "done"])
    async with open_loop(tmp_path, llm, tools=[block, let_go]) as loop:
        await loop.send("go")
    assert shown(llm.requests[1])[2:] == ["tool: released", "tool: released", "tool: let go"]


@pytest.mark.acceptance("C4")
@pytest.mark.parametrize("kind", ["async", "sync", "stubborn"])
async def test_a_timeout_is_an_error_result_and_the_turn_goes_on(tmp_path: Path, kind: str) -> None:
    release = threading.Event()

    @tool(name="slow", timeout=0.05)
    async def polite() -> str:
        """Sleeps."""
        await asyncio.sleep(FOREVER)
        return ""

    @tool(name="slow", timeout=0.05)
    def blocking() -> str:
        """Blocks its thread."""
        release.wait(FOREVER)
        return ""

    @tool(name="slow", timeout=0.05)
    async def stubborn() -> str:
        """Swallows every cancellation until the test is over."""
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "too late"

    slow = {"async": polite, "sync": blocking, "stubborn": stubborn}[kind]
    llm = ScriptedLLM([calls(("slow", {})), "I see"])
    async with open_loop(tmp_path, llm, tools=[slow]) as loop:
        result = await loop.send("go")
        assert (result.status, result.final_text) == (Status.COMPLETED, "I see")
        (call,) = await loop.get_calls(result.session_id)
        assert call.state is CallState.TIMED_OUT
        told = shown(llm.requests[1])[2]
        assert told.startswith("tool: Error: slow gave no result within 0.05 s")
        assert "fully, partly or not at all" in told
        release.set()
        for _ in range(20):  # what was left behind may end now, and changes nothing any more
            await asyncio.sleep(0.002)
        assert [message.text for message in await loop.get_messages(result.session_id)][-1] == "I see"


@pytest.mark.acceptance("C4")
async def test_the_configurations_limit_holds_where_a_tool_sets_none(tmp_path: Path) -> None:
    @tool
    async def hang() -> str:
        """Hangs."""
        await asyncio.Event().wait()
        return ""

    @tool(timeout=5)
    async def short() -> str:
        """Is quick."""
        return "quick"

    llm = ScriptedLLM([calls(("hang", {}), ("short", {})), "done"])
    async with open_loop(tmp_path, llm, tools=[hang, short], tool_timeout=0.05) as loop:
        await loop.send("go")
    assert [text[:30] for text in shown(llm.requests[1])[2:]] == ["tool: Error: hang gave no resu", "tool: quick"]


async def test_what_a_tool_raises_is_its_result(tmp_path: Path) -> None:
    @tool
    async def fail() -> str:
        """Fails."""
        raise OSError("x" * 10_000 + "\ud800")

    @tool
    async def leave() -> str:
        """Leaves."""
        raise SystemExit(3)

    llm = ScriptedLLM([calls(("fail", {}), ("leave", {})), "done"])
    async with open_loop(tmp_path, llm, tools=[fail, leave]) as loop:
        result = await loop.send("go")
        states = [(call.state, call.settled_by) for call in await loop.get_calls(result.session_id)]
        assert states == [("failed", "run"), ("failed", "run")]
    failed, left = shown(llm.requests[1])[2:]
    assert failed.startswith("tool: Error: OSError: xxx")
    assert len(failed) < 5_000
    assert "SystemExit" in left


async def test_a_result_that_is_there_when_the_turn_is_stopped_is_kept(tmp_path: Path) -> None:
    """Of two calls one has ended and one has not: only that one is in doubt."""
    stop, slow_in = asyncio.Event(), asyncio.Event()

    @tool(effect="idempotent")
    async def quick() -> str:
        """Ends once the other is in."""
        await until(slow_in)
        return "quick"

    @tool(effect="idempotent")
    async def slow(context: ToolContext) -> str:
        """Sees the other's result stored, then stops the turn."""
        slow_in.set()
        await until_true(lambda: settled(context.session_id))
        stop.set()
        if context.attempt == 1:
            await asyncio.Event().wait()
        return f"slow, attempt {context.attempt}"

    async def settled(session: str) -> bool:
        return not (await loop.get_calls(session))[0].state.open

    loop = open_loop(tmp_path, [calls(("quick", {}), ("slow", {})), "done"], tools=[quick, slow])
    async with loop:
        result = await loop.send("go", stop_event=stop)
        assert [call.name for call in result.pending_tool_calls] == ["slow"]
        resumed = await loop.resume(result.session_id)
        assert resumed.final_text == "done"
        assert [call.attempt for call in await loop.get_calls(result.session_id)] == [1, 2]
        assert await history_is_valid(loop, result.session_id)


async def test_progress_is_heard_before_the_result(tmp_path: Path) -> None:
    @tool
    def work(context: ToolContext) -> str:
        """Tells how it goes, from its thread."""
        for percent in (10, 50):
            context.emit({"percent": percent})
        return "worked"

    async with open_loop(tmp_path, [calls(("work", {})), "done"], tools=[work]) as loop:
        names = [
            json.dumps(event.progress) if hasattr(event, "progress") else type(event).__name__
            async for event in loop.stream("go")
            if hasattr(event, "progress") or isinstance(event, f.CallsStarted | f.CallSettled)
        ]
    assert names == ["CallsStarted", '{"percent": 10}', '{"percent": 50}', "CallSettled"]
