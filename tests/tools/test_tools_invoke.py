"""One call runs once, never blocks the loop, and can be left at any time."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from power_loop.tools import Tool, ToolContext, invoke, tool

ROOT = Path(__file__).parents[2]


def context(**more: Any) -> ToolContext:
    return ToolContext(session_id="s", call_id="c", idempotency_key="s/1/0", **more)


async def run(made: Tool, text: str = "", of: ToolContext | None = None) -> Any:
    return await invoke(made, made.arguments(text), of or context())


async def test_the_function_gets_its_arguments_and_its_context() -> None:
    @tool
    def sync(x: int, ctx: ToolContext, *, y: int = 2) -> Any:
        return x, y, ctx

    @tool
    async def later(ctx: ToolContext, /, x: int) -> Any:
        return x, ctx

    of = context(attempt=3)
    assert await run(sync, '{"x": 1}', of) == (1, 2, of)
    assert await run(later, '{"x": 1}', of) == (1, of)
    assert (of.session_id, of.call_id, of.idempotency_key, of.attempt) == ("s", "c", "s/1/0", 3)


@pytest.mark.acceptance("C5")
@pytest.mark.parametrize(
    "error", [TypeError("missing 1 required positional argument"), KeyError("x"), StopIteration(1)]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_that_raises_runs_once(error: Exception, is_async: bool) -> None:
    runs: list[int] = []

    def sync(x: int) -> None:
        runs.append(x)
        raise error

    async def later(x: int) -> None:
        sync(x)

    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        await run(tool(later if is_async else sync), '{"x": 1}')
    assert runs == [1]


@pytest.mark.acceptance("C5")
async def test_refused_arguments_reach_no_function() -> None:
    runs: list[int] = []

    @tool
    def f(x: int) -> None:
        runs.append(x)

    for text in ("", "{", "{}", '{"x": "a"}', '{"x": 1, "y": 2}', '{"x": 1, "x": 1}'):
        with pytest.raises(Exception, match="did not run"):
            await run(f, text)
    assert runs == []


@pytest.mark.acceptance("C4")
async def test_the_loop_runs_on_while_a_sync_tool_blocks() -> None:
    release = threading.Event()

    @tool
    def blocks() -> str:
        assert release.wait(30)
        return threading.current_thread().name

    running = asyncio.create_task(run(blocks))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not running.done()
    release.set()
    assert await running == "tool blocks"


@pytest.mark.acceptance("C4")
async def test_many_sync_tools_block_side_by_side() -> None:
    all_in = threading.Barrier(60)

    @tool
    def meets() -> int:
        return all_in.wait(30)

    assert sorted(await asyncio.gather(*(run(meets) for _ in range(60)))) == list(range(60))


@pytest.mark.acceptance("C4")
async def test_context_variables_reach_the_thread_and_do_not_come_back() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("outside")

    @tool
    def reads() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    assert await run(reads) == "outside"
    assert variable.get() == "outside"


async def test_an_awaitable_that_a_sync_function_returns_is_awaited_on_the_loop() -> None:
    here = asyncio.get_running_loop()

    async def work() -> Any:
        return asyncio.get_running_loop()

    @tool
    def hands_over() -> Any:
        return work()

    @tool
    def future() -> Any:
        made = here.create_future()
        here.call_soon_threadsafe(made.set_result, 7)
        return made

    assert not hands_over.is_async
    assert await run(hands_over) is here
    assert await run(future) == 7


@pytest.mark.acceptance("C4")
async def test_cancelling_leaves_a_sync_tool_at_once_and_tells_it() -> None:
    entered, told, release = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @tool
    def polls(ctx: ToolContext) -> Any:
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(30)
        if ctx.cancelled:
            told.set()
        return asyncio.sleep(0)

    of = context()
    running = asyncio.create_task(run(polls, of=of))
    await entered.wait()
    assert not of.cancelled
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert of.cancelled
    assert not told.is_set()
    threads = [one for one in threading.enumerate() if one.name == "tool polls"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the dropped coroutine is closed, not forgotten
        release.set()
        for thread in threads:
            thread.join(30)
        assert told.is_set()
        await asyncio.sleep(0)


async def test_cancelling_an_async_tool_lets_it_clean_up() -> None:
    entered, cleaned = asyncio.Event(), asyncio.Event()

    @tool
    async def waits() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    of = context()
    running = asyncio.create_task(run(waits, of=of))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cleaned.is_set()
    assert of.cancelled


async def test_a_timeout_around_it_is_a_timeout() -> None:
    @tool
    async def waits() -> None:
        await asyncio.Event().wait()

    of = context()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run(waits, of=of)
    assert of.cancelled


async def test_a_tool_that_is_cancelled_from_within_has_failed_and_nothing_else() -> None:
    @tool
    async def awaits_something_cancelled() -> None:
        inner = asyncio.create_task(asyncio.sleep(1))
        inner.cancel()
        await inner

    @tool
    def raises_it() -> None:
        raise asyncio.CancelledError

    for made in (awaits_something_cancelled, raises_it):
        of = context()
        with pytest.raises(RuntimeError, match=r"CancelledError|cancelled from within"):
            await run(made, of=of)
        assert not of.cancelled


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_cannot_end_the_process(is_async: bool) -> None:
    def sync() -> None:
        sys.exit(3)

    async def later() -> None:
        sys.exit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await run(tool(later if is_async else sync))


@pytest.mark.acceptance("C4")
def test_a_sync_tool_that_never_returns_does_not_keep_the_interpreter() -> None:
    script = """
import asyncio, threading
from power_loop.tools import ToolContext, invoke, tool

@tool
def stuck() -> None:
    print("in", flush=True)
    threading.Event().wait()

async def main():
    context = ToolContext(session_id="s", call_id="c", idempotency_key="k")
    try:
        await asyncio.wait_for(invoke(stuck, stuck.arguments(""), context), 0.2)
    except TimeoutError:
        print("out", context.cancelled, flush=True)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\nout True\n", "")
