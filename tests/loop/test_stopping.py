"""Stopping a turn: by its task, by an event, from another process; in a model call, a tool, a backoff."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import TextDelta
from power_loop import (
    EpochLostError,
    SessionBusyError,
    SessionState,
    StatefulAgentLoop,
    StatefulResult,
    Status,
    tool,
)
from power_loop.errors import LoopClosedError
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import (
    FOREVER,
    dump,
    history_is_valid,
    no_transaction,
    open_loop,
    output_of,
    python,
    service,
    stuck_in,
    until_true,
)

SOON = 2.0
"""Seconds: far more than a stop takes, far less than what is blocked would last."""

STOPPER = """
import asyncio, sys
from power_loop import StatefulAgentLoop

async def main():
    async with StatefulAgentLoop(db_path=sys.argv[1], create=False) as loop:
        print(await loop.request_stop("s", reason="the operator said so"))

asyncio.run(main())
"""


class Stuck:
    """Something that lasts for ever, in a model call, a tool or a backoff; `entered` says that it is reached."""

    def __init__(self, folder: Path, where: str, server: ScriptedServer) -> None:
        self.entered = asyncio.Event()
        self.where = where
        self._release = threading.Event()
        self._home = asyncio.get_running_loop()
        model: Any
        if where in ("wire", "wire, aiohttp", "backoff"):
            server.use(self._reply)
            transport = "aiohttp" if where == "wire, aiohttp" else "httpx"
            model = service(server, backoff=FOREVER, max_backoff=FOREVER, transport=transport)
        else:
            model = ScriptedLLM([self._model if where == "model" else calls((where, {}), ("next", {}))])
        self.loop = open_loop(folder, model, tools=self._tools())

    def _reply(self, asked: object) -> Reply:
        self._home.call_soon_threadsafe(self.entered.set)
        return Reply.fails(503) if self.where == "backoff" else Reply(text="late", delay=FOREVER)

    async def _model(self, request: object) -> str:
        self.entered.set()
        await asyncio.sleep(FOREVER)
        return "late"

    def _tools(self) -> list[Any]:
        @tool(name="async")
        async def polite() -> str:
            """Sleeps."""
            self.entered.set()
            await asyncio.sleep(FOREVER)
            return "late"

        @tool(name="stubborn")
        async def stubborn() -> str:
            """Swallows cancellations."""
            self.entered.set()
            while not self._release.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    continue
            return "late"

        @tool(name="sync")
        def sync() -> str:
            """Blocks its thread."""
            self._home.call_soon_threadsafe(self.entered.set)
            self._release.wait(FOREVER)
            return "late"

        @tool(name="next")
        async def follows() -> str:
            """Never runs."""
            raise AssertionError("a call after the stop ran")

        return [polite, stubborn, sync, follows]

    def let_go(self) -> None:
        self._release.set()


async def by_task(sending: asyncio.Task[StatefulResult], folder: Path, event: Any) -> None:
    sending.cancel()


async def by_event(sending: asyncio.Task[StatefulResult], folder: Path, event: Any) -> None:
    event.set()


async def by_process(sending: asyncio.Task[StatefulResult], folder: Path, event: Any) -> None:
    assert await output_of(python(STOPPER, folder / "agent.db")) == "True\n"


REASONS = {
    by_task: (Status.CANCELLED, "the caller was cancelled"),
    by_event: (Status.STOPPED, "the stop event was set"),
    by_process: (Status.STOPPED, "the operator said so"),
}

PLACES = ["model", "wire", "wire, aiohttp", "backoff", "async", "stubborn", "sync"]


@pytest.mark.acceptance("C6")
@pytest.mark.parametrize("event", [asyncio.Event, threading.Event])
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("stop", [by_task, by_event])
async def test_a_turn_stops_at_once_wherever_it_is(
    tmp_path: Path, server: ScriptedServer, where: str, stop: Callable[..., Awaitable[None]], event: Callable[[], Any]
) -> None:
    await stops(tmp_path, server, where, stop, event())


@pytest.mark.acceptance("C6")
@pytest.mark.parametrize("where", ["model", "async", "backoff"])
async def test_another_process_stops_a_turn(tmp_path: Path, server: ScriptedServer, where: str) -> None:
    await stops(tmp_path, server, where, by_process, None)


async def stops(
    folder: Path, server: ScriptedServer, where: str, stop: Callable[..., Awaitable[None]], event: Any
) -> None:
    stuck = Stuck(folder, where, server)
    async with stuck.loop as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s", stop_event=event))
        async with stuck_in(sending, stuck.entered):
            await stop(sending, folder, event)
            begun = time.monotonic()
            await asyncio.wait([sending], timeout=SOON)
        assert sending.done(), "it was not stopped"
        assert time.monotonic() - begun < SOON
        status, reason = REASONS[stop]
        (turn,) = await loop.get_turns("s")
        assert (turn.status, turn.stop_reason, turn.state) == (status, reason, "cancelled")
        info = await loop.get_session("s")
        assert info.state is SessionState.STOPPED
        assert info.owner is None
        in_tool = where in ("async", "stubborn", "sync")
        open_calls = [(call.name, call.state) for call in await loop.get_pending("s")]
        assert open_calls == ([(where, "in_doubt"), ("next", "requested")] if in_tool else [])
        if stop is by_task:
            assert sending.cancelled()
        else:
            result = sending.result()
            assert (result.status, result.stop_reason) == (status, reason)
            assert [(call.name, call.state) for call in result.pending_tool_calls] == open_calls
        no_transaction(folder)
        stuck.let_go()
    async with open_loop(folder, ["fine"]) as fresh:
        assert len(await fresh.abort_pending("s")) == len(open_calls)
        assert (await fresh.send("and now?", "s")).final_text == "fine"
        assert await history_is_valid(fresh, "s")


@pytest.mark.acceptance("C6")
async def test_a_stop_in_the_middle_of_a_stream_is_acknowledged_to_one_of_all_who_ask(
    tmp_path: Path, server: ScriptedServer
) -> None:
    # A piece a second, for ever; what was said by then is dropped, and whoever listened hears how the turn ended.
    server.use(lambda asked: Reply(text="word " * 60, chunk_delay=1.0, piece=5))
    heard, events = asyncio.Event(), []

    async def listen(loop: StatefulAgentLoop) -> Any:
        async for event in loop.stream("go", "s"):
            events.append(event)
            if isinstance(event, TextDelta):
                heard.set()

    async with open_loop(tmp_path, service(server)) as loop:
        await loop.create_session("s")
        listening = asyncio.create_task(listen(loop))
        async with stuck_in(listening, heard):
            said = await asyncio.gather(*(output_of(python(STOPPER, tmp_path / "agent.db")) for _ in range(3)))
            await asyncio.wait([listening], timeout=SOON)
        assert listening.done(), "it was not stopped"
        # Whoever asked after the turn had ended found nobody to stop; of those who asked in time one was first.
        assert sorted(said) == ["False\n", "False\n", "True\n"]
        result = events[-1]
        assert isinstance(result, StatefulResult)
        assert (result.status, result.stop_reason) == (Status.STOPPED, "the operator said so")
        assert [message.role for message in await loop.get_messages("s")] == ["user"]
        assert (await loop.get_session("s")).state is SessionState.STOPPED


@pytest.mark.acceptance("C6")
async def test_nobody_to_stop_is_said_and_nothing_is_kept_for_the_next_turn(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["one", "two"]) as loop:
        await loop.create_session("s")
        assert await loop.request_stop("s") is False
        assert (await loop.send("go", "s")).status is Status.COMPLETED
        assert await loop.request_stop("s") is False
        assert (await loop.send("go", "s")).status is Status.COMPLETED


@pytest.mark.acceptance("C6")
async def test_of_two_running_turns_the_one_that_was_meant_stops(tmp_path: Path) -> None:
    entered, release = {"a": asyncio.Event(), "b": asyncio.Event()}, asyncio.Event()

    async def model(request: Any) -> str:
        entered["a" if "for a" in request.messages[0] else "b"].set()
        await release.wait()
        return "done"

    async with open_loop(tmp_path, [model, model]) as loop:
        for session in entered:
            await loop.create_session(session)
        sending = {name: asyncio.create_task(loop.send(f"for {name}", name)) for name in entered}
        for name, event in entered.items():
            async with stuck_in(sending[name], event):
                pass
        assert await loop.request_stop("b", reason="b only")
        assert (await sending["b"]).stop_reason == "b only"
        release.set()
        assert (await sending["a"]).status is Status.COMPLETED


@pytest.mark.acceptance("C6")
async def test_a_stop_event_that_cannot_be_asked_keeps_no_other_turn_from_stopping(tmp_path: Path) -> None:
    entered = [asyncio.Event(), asyncio.Event()]
    stop = asyncio.Event()

    class Broken:
        def is_set(self) -> bool:
            raise OSError("no")

    async def model(request: Any) -> str:
        entered["second" in request.messages[0]].set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [model, model]) as loop:
        first = asyncio.create_task(loop.send("first", stop_event=Broken()))
        second = asyncio.create_task(loop.send("second", stop_event=stop))
        async with stuck_in(first, entered[0]), stuck_in(second, entered[1]):
            stop.set()
        assert (await second).status is Status.STOPPED
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@pytest.mark.acceptance("C6")
async def test_a_timeout_around_send_is_a_cancellation(tmp_path: Path) -> None:
    limit = asyncio.timeout(None)

    async def late(_: Any) -> str:
        limit.reschedule(asyncio.get_running_loop().time() + 0.05)
        return await asyncio.sleep(FOREVER, "late")

    async with open_loop(tmp_path, [late, "then"]) as loop:
        await loop.create_session("s")
        with pytest.raises(TimeoutError):
            async with limit:
                await loop.send("go", "s")
        assert (await loop.get_session("s")).status == "cancelled"
        assert (await loop.resume("s")).final_text == "then"


@pytest.mark.acceptance("L6")
async def test_closing_stops_what_runs_and_refuses_what_waits(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def model(request: Any) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    loop = open_loop(tmp_path, [model])
    async with loop:
        await loop.create_session("s")
        running = asyncio.create_task(loop.send("one", "s"))
        async with stuck_in(running, entered):
            waiting = asyncio.create_task(loop.send("two", "s"))
            await asyncio.sleep(0)
    result = running.result()
    assert (result.status, result.stop_reason) == (Status.STOPPED, "the loop is closing")
    assert waiting.done()
    with pytest.raises(LoopClosedError, match="nothing of it was written"):
        waiting.result()
    stored = dump(tmp_path)
    assert len(stored["turns"]) == 1
    assert (await asyncio.to_thread(lambda: open_loop(tmp_path, ["back"]).send_sync("three", "s"))).final_text == "back"


@pytest.mark.acceptance("L6")
async def test_closing_at_any_moment_of_a_send_leaves_no_live_turn(tmp_path: Path) -> None:
    for moments in range(30):
        loop = open_loop(tmp_path, [lambda _: asyncio.sleep(FOREVER, "")], synchronous="NORMAL")
        session = await loop.create_session()
        sending = asyncio.create_task(loop.send("go", session))
        for _ in range(moments):
            await asyncio.sleep(0)
        await loop.aclose()
        assert sending.done()
        if sending.exception() is None:
            assert sending.result().stop_reason == "the loop is closing"
        else:
            assert isinstance(sending.exception(), LoopClosedError)
    assert [row for row in dump(tmp_path)["turns"] if "asking" in row] == []


@pytest.mark.acceptance("L6")
async def test_closing_waits_for_turns_as_long_as_it_is_told(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def model(request: Any) -> str:
        entered.set()
        await release.wait()
        return "in time"

    loop = open_loop(tmp_path, [model])
    running = asyncio.create_task(loop.send("one"))
    async with stuck_in(running, entered):
        closing = asyncio.create_task(loop.aclose(drain=FOREVER))
        await asyncio.sleep(0)
        assert not closing.done()
        release.set()
    await closing
    assert running.result().final_text == "in time"
    with pytest.raises(LoopClosedError):
        await loop.send("too late")


async def test_a_cancelled_close_still_closes(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def model(request: Any) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    loop = open_loop(tmp_path, [model])
    running = asyncio.create_task(loop.send("one"))
    async with stuck_in(running, entered):
        closing = asyncio.create_task(loop.aclose(drain=FOREVER))
        for _ in range(3):
            await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert running.result().stop_reason == "the loop is closing"
    assert not (tmp_path / "agent.db-wal").exists(), "the store is closed: its log is folded into the file"


async def test_what_fails_to_close_keeps_nothing_else_open(tmp_path: Path) -> None:
    class Sink:
        async def record(self, facts: object) -> None:
            pass

        async def aclose(self) -> None:
            raise OSError("no")

    async with open_loop(tmp_path, ["hi"], sinks=[Sink()]) as loop:
        await loop.send("hello")
    assert not (tmp_path / "agent.db-wal").exists()


async def test_a_turn_that_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    """Another process takes the session by force while the model is asked: the answer is refused, and said to be."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def model(request: Any) -> str:
        entered.set()
        await release.wait()
        return "too late"

    async with open_loop(tmp_path, [model]) as loop, open_loop(tmp_path, ["taken"]) as other:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, entered):
            with pytest.raises(SessionBusyError):
                await other.resume("s", if_busy="raise")
            assert (await other.resume("s", force=True)).final_text == "taken"
            before = dump(tmp_path)
            release.set()
        with pytest.raises(EpochLostError) as caught:
            await sending
        assert (caught.value.code, caught.value.ours, caught.value.current) == ("session.epoch_lost", 1, 2)
        assert dump(tmp_path) == before


async def test_a_stop_that_came_before_anybody_watched_is_heard(tmp_path: Path) -> None:
    """The watcher has read the request already when the turn it is for is announced to it."""
    entered = asyncio.Event()

    async def model(request: Any) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [model, model]) as loop:
        await loop.create_session("s")
        other = asyncio.create_task(loop.send("keeps the watcher watching"))
        async with stuck_in(other, entered):
            conductor = await loop._open()
            runner = conductor.runner
            run = runner.run
            looked: list[int] = []
            ask_store = runner._watch._ask_store

            async def counted() -> None:
                await ask_store()
                looked.append(1)

            async def delayed(*given: Any) -> StatefulResult:
                assert await loop.request_stop("s", reason="early")
                runner._watch._ask_store = counted  # type: ignore[method-assign]
                await until_true(lambda: asyncio.sleep(0, len(looked) >= 2))
                return await run(*given)

            runner.run = delayed  # type: ignore[method-assign]
            entered.clear()
            result = await asyncio.wait_for(loop.send("go", "s"), 10)
            assert (result.status, result.stop_reason) == (Status.STOPPED, "early")
            other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
