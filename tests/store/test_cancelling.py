"""Whoever waits for a write may be cancelled at any of its awaits: nothing is torn, nothing stays locked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, open_store, tool
from power_loop.store.contract import Input, NewSession
from power_loop.store.sqlite.store import SqliteStore
from power_loop.values import SessionId
from tests.store.kit import assert_free, assert_sound, beside, dump

pytestmark = pytest.mark.acceptance("A1")


class CancelledAt:
    """Awaits something, and cancels its own task when that suspends for the nth time."""

    def __init__(self, work: Awaitable[Any], point: int) -> None:
        self._steps = work.__await__()
        self._point = point
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(next, self._steps)
        suspended = 0
        while True:
            try:
                waited = step()
            except StopIteration as stop:
                return stop.value
            suspended += 1
            if suspended == self._point:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - it is thrown into what waits
                step = partial(self._steps.throw, error)  # type: ignore[attr-defined]
            else:
                step = partial(next, self._steps)


async def cancelled_at(work: Awaitable[Any], point: int) -> str:
    """What became of a task cancelled at its nth suspension; `untouched` if it has fewer."""
    watch = CancelledAt(work, point)

    async def run() -> None:
        await watch

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not watch.reached:
        task.result()
        return "untouched"
    if task.cancelled():
        return "cancelled"
    return "done" if task.exception() is None else "failed"


@tool
async def work() -> str:
    """Works."""
    await asyncio.sleep(0)
    return "done"


WRITES: dict[str, Callable[[StatefulAgentLoop, str], Awaitable[Any]]] = {
    "create_session": lambda loop, s: loop.create_session(f"{s}+"),
    "send": lambda loop, s: loop.send("again", s, on_pending="abort"),
    "send to a new session": lambda loop, _: loop.send("hello"),
    "send with tools": lambda loop, s: loop.send("use a tool", s, on_pending="resume"),
    "resume": lambda loop, s: loop.resume(s),
    "abort_pending": lambda loop, s: loop.abort_pending(s),
    "resolve": lambda loop, s: loop.resolve(s, "call_0", "it did"),
    "request_stop": lambda loop, s: loop.request_stop(s),
    "archive_session": lambda loop, s: loop.archive_session(s),
    "close_session": lambda loop, s: loop.close_session(s),
    "delete_session": lambda loop, s: loop.delete_session(s),
    "recover": lambda loop, _: loop.recover("abort"),
}


def scripted() -> ScriptedLLM:
    """Calls a tool where a tool is asked for, else says something."""
    return ScriptedLLM([lambda request: calls(("work", {})) if "use a tool" in request.messages[-1] else "fine"] * 40)


async def in_doubt(path: Path, session: str) -> None:
    """A session whose only call was started by a process that is gone."""
    store = await open_store(path)
    llm = ScriptedLLM([calls(("stuck", {}))])
    entered = asyncio.Event()

    @tool
    async def stuck() -> str:
        """Never ends."""
        entered.set()
        await asyncio.Event().wait()
        return ""

    async with StatefulAgentLoop(llm=llm, store=store, tools=[stuck]) as loop:
        await loop.create_session(session)
        sending = asyncio.create_task(loop.send("begin", session))
        await entered.wait()
        sending.cancel()
        await asyncio.wait([sending])
    await store.aclose()


@pytest.mark.parametrize("name", WRITES)
async def test_a1_cancelled_at_any_await_a_write_leaves_nothing_open(tmp_path: Path, name: str) -> None:
    path = tmp_path / "agent.db"
    ends: list[str] = []
    while not ends or ends[-1] != "untouched":
        session = f"s{len(ends)}"
        await in_doubt(path, session)
        store = await open_store(path)
        assert isinstance(store, SqliteStore)
        async with StatefulAgentLoop(llm=scripted(), store=store, tools=[work]) as loop:
            ends.append(await cancelled_at(WRITES[name](loop, session), len(ends) + 1))
            assert not store._threads[0].raw.in_transaction
            assert_free(path)
            assert_sound(path)
            known = {info.session_id for info in await loop.list_sessions(archived=True)}
            for other in known - {f"{session}+"}:
                info = await loop.get_session(other)
                if not (info.closed or info.archived):
                    result = await loop.send("still there?", other, on_pending="abort", if_busy="raise")
                    assert result.final_text == "fine"
        await store.aclose()
    assert len(ends) > 1, "it never waited for anything"
    assert "failed" not in ends


async def test_a1_a_cancelled_write_is_done_or_undone_and_its_task_ends_cancelled(tmp_path: Path) -> None:
    """The cancellation waits for the commit, and then goes through at once: not at some later await of the caller's."""
    path = tmp_path / "agent.db"
    store = await open_store(path)
    point, ends = 0, []
    while not ends or ends[-1] != "untouched":
        point += 1
        session = SessionId(f"s{point}")
        ends.append(await cancelled_at(store.create_session(NewSession(id=session)), point))
    assert set(ends) == {"cancelled", "untouched"}
    assert {row[1] for row in dump(path)["sessions"]} == {f"s{number}" for number in range(1, point + 1)}
    await store.aclose()


async def test_a1_a_cancellation_that_waited_goes_through_at_that_very_await(tmp_path: Path) -> None:
    """Not at some later await of the caller's, where no `timeout` and no `TaskGroup` expects it any more."""
    path = tmp_path / "agent.db"
    store = await open_store(path)
    went = []

    async def caller() -> None:
        try:
            await CancelledAt(store.create_session(NewSession(id=SessionId("s"))), 1)
        except asyncio.CancelledError:
            went.append("through")
        await asyncio.sleep(0)
        went.append("once")

    await asyncio.create_task(caller())
    assert went == ["through", "once"]
    assert len(dump(path)["sessions"]) == 1
    await store.aclose()


async def test_a1_a_claim_reaches_even_a_cancelled_caller(tmp_path: Path) -> None:
    """Else nobody would know of a turn that is on disk as ours."""
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=SessionId("s")))
    got = []

    async def claims() -> None:
        begun = await CancelledAt(store.begin_turn(Input(session=SessionId("s"), body='{"role":"user"}')), 1)
        got.append(begun)
        await asyncio.sleep(0)

    task = asyncio.create_task(claims())
    await asyncio.wait([task])
    assert task.cancelled()
    assert got[0].claim.turn == 1
    await store.aclose()


async def test_a1_cancelled_at_any_await_an_open_leaves_a_file_that_opens(tmp_path: Path) -> None:
    ends: list[str] = []
    opened = []

    async def opens(path: Path) -> None:
        opened.append(await open_store(path))

    while not ends or ends[-1] != "untouched":
        path = tmp_path / f"{len(ends)}.db"
        ends.append(await cancelled_at(opens(path), len(ends) + 1))
        store = await open_store(path)
        assert_free(path)
        await store.aclose()
    for left in opened:
        await left.aclose()
    assert len(ends) > 2
    assert set(beside(path)) == {f"{number}.db" for number in range(len(ends))}


async def test_a1_cancelled_at_any_await_a_close_can_be_done_again(tmp_path: Path) -> None:
    ends: list[str] = []
    while not ends or ends[-1] != "untouched":
        path = tmp_path / f"{len(ends)}.db"
        store = await open_store(path)
        await store.create_session(NewSession(id=SessionId("s")))
        ends.append(await cancelled_at(store.aclose(), len(ends) + 1))
        await store.aclose()
        assert set(beside(path)) == {f"{number}.db" for number in range(len(ends))}
    assert len(ends) > 1
