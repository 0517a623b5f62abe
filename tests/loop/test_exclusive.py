"""One driver a session: whoever comes meanwhile waits in order or is refused, and nothing is kept afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import SessionBusyError, StatefulAgentLoop, Status, open_store, tool
from power_loop.errors import SessionNotFoundError
from power_loop.stateful_loop.gates import Gates
from power_loop.values import SessionId
from tests.loop.kit import FOREVER, history_is_valid, open_loop, output_of, python, shown, stuck_in, valid


@tool
async def work() -> str:
    """Works, and lets others go first."""
    for _ in range(3):
        await asyncio.sleep(0)
    return "worked"


def model(request: Any) -> Any:
    """One call for each input, then an echo of it."""
    lines = shown(request)
    return calls(("work", {})) if lines[-1].startswith("user: ") else f"re {lines[-3]}"


async def check_whole(loop: StatefulAgentLoop, texts: list[str]) -> None:
    """Every input is there once, followed by its own call, result and answer before the next."""
    stored = await loop.get_messages("s")
    assert sorted(message.text for message in stored if message.role == "user") == sorted(texts)
    for at in range(0, len(stored), 4):
        asked, call, result, answer = stored[at : at + 4]
        assert (asked.role, call.role, result.role, answer.role) == ("user", "assistant", "tool", "assistant")
        assert answer.text == f"re user: {asked.text}"
        assert len({message.turn for message in stored[at : at + 4]}) == 1
    assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("D1")
async def test_ten_sends_at_once_never_interleave(tmp_path: Path) -> None:
    texts = [f"input {number}" for number in range(10)]
    llm = ScriptedLLM([model] * 20)
    async with open_loop(tmp_path, llm, tools=[work]) as loop:
        await loop.create_session("s")
        results = await asyncio.gather(*(loop.send(text, "s") for text in texts))
        assert [result.final_text for result in results] == [f"re user: {text}" for text in texts]
        assert [result.turn for result in results] == list(range(1, 11)), "in the order they came"
        await check_whole(loop, texts)
        assert valid(*llm.requests)


@pytest.mark.acceptance("D1")
async def test_two_loops_and_a_shared_store_on_one_file(tmp_path: Path) -> None:
    texts = [f"input {number}" for number in range(9)]
    store = await open_store(tmp_path / "agent.db")
    own = open_loop(tmp_path, [model] * 18, tools=[work])
    sharing = [StatefulAgentLoop(llm=ScriptedLLM([model] * 18), store=store, tools=[work]) for _ in range(2)]
    async with own, sharing[0], sharing[1]:
        await own.create_session("s")
        loops = [own, *sharing]
        results = await asyncio.gather(*(loops[n % 3].send(text, "s") for n, text in enumerate(texts)))
        assert {result.status for result in results} == {Status.COMPLETED}
        await check_whole(own, texts)
    assert store.path, "a store of the app's stays open"
    assert len(await store.turns(SessionId("s"))) == 9
    await store.aclose()


SENDER = """
import asyncio, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, tool
from tests.loop.test_exclusive import model, work

async def main():
    async with StatefulAgentLoop(llm=ScriptedLLM([model] * 8), db_path=sys.argv[1], tools=[work]) as loop:
        await asyncio.gather(*(loop.send(f"{sys.argv[2]} {n}", "s") for n in range(4)))

asyncio.run(main())
"""


@pytest.mark.acceptance("D1")
async def test_two_processes_never_interleave(tmp_path: Path) -> None:
    async with open_loop(tmp_path) as loop:
        await loop.create_session("s")
        processes = [python(SENDER, tmp_path / "agent.db", name) for name in ("a", "b")]
        await asyncio.gather(*(output_of(process) for process in processes))
        await check_whole(loop, [f"{name} {n}" for name in ("a", "b") for n in range(4)])


@pytest.mark.acceptance("D1")
async def test_if_busy_raise_is_refused_at_once(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(request: object) -> str:
        entered.set()
        await release.wait()
        return "done"

    async with open_loop(tmp_path, [hold, "second"]) as loop, open_loop(tmp_path, ["never"]) as other:
        await loop.create_session("s")
        first = asyncio.create_task(loop.send("one", "s"))
        async with stuck_in(first, entered):
            waiting = asyncio.create_task(loop.send("two", "s"))
            await asyncio.sleep(0)
            for one in (loop, other):
                with pytest.raises(SessionBusyError) as caught:
                    await one.send("three", "s", if_busy="raise")
                assert caught.value.session_id == "s"
                with pytest.raises(SessionBusyError):
                    await one.resume("s", if_busy="raise")
            release.set()
        assert [(await first).final_text, (await waiting).final_text] == ["done", "second"]
        texts = [message.text for message in await loop.get_messages("s") if message.role == "user"]
        assert texts == ["one", "two"]


@pytest.mark.acceptance("D1")
async def test_waiting_for_another_process_can_be_cancelled(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def hold(request: object) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [hold]) as loop, open_loop(tmp_path, ["never"]) as other:
        await loop.create_session("s")
        first = asyncio.create_task(loop.send("one", "s"))
        async with stuck_in(first, entered):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.send("two", "s"), 0.2)
            assert len(await other.get_turns("s")) == 1
            await other.request_stop("s")
        assert (await first).status is Status.STOPPED


async def test_a_refused_send_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["never"]) as loop:
        await loop.create_session("s")
        await loop.delete_session("s")
        with pytest.raises(SessionNotFoundError):
            await loop.send("two", "s")
        assert len(await loop._open()) == 0


async def test_gates_let_in_one_by_one_in_order_and_keep_nothing() -> None:
    gates, order = Gates(), list[int]()
    session = SessionId("s")

    async def enter(number: int) -> None:
        async with gates.entered(session, wait=True):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 0, 1, 1, 3, 3]
    assert len(gates) == 0
    await asyncio.wait_for(gates.emptied(), 1)


async def test_a_gate_that_is_being_handed_over_is_not_free() -> None:
    """Whoever will not wait is refused also in the instant between one driver and the next."""
    gates, session = Gates(), SessionId("s")
    first = gates.entered(session, wait=True)
    await first.__aenter__()
    second = gates.entered(session, wait=True)
    entering = asyncio.create_task(second.__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)
    async with asyncio.timeout(1):
        with pytest.raises(SessionBusyError):
            await gates.entered(session, wait=False).__aenter__()
    await entering
    await second.__aexit__(None, None, None)
    assert len(gates) == 0


@pytest.mark.acceptance("D3")
async def test_closed_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["hi"] * 60, warm_sessions=10, synchronous="NORMAL") as loop:
        conductor = await loop._open()
        kept = []
        for number in range(30):
            session = (await loop.send("hello")).session_id
            if number % 2:
                await loop.close_session(session)
            kept.append(len(conductor))
        assert max(kept) <= 10, "what is kept warm is bounded"
        for info in await loop.list_sessions():
            await loop.close_session(info.session_id)
        assert len(conductor) == 0
