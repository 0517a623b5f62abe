"""Faults that schedules found, each as the shortest story that shows it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import EpochLostError, SessionNotFoundError, SessionStore, StatefulAgentLoop, open_store, tool
from power_loop.loop.stop import StopSignal, give_up
from power_loop.values import SessionId
from tests.interleaving.explore import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.mark.acceptance("D1")
@pytest.mark.parametrize("seed", [176, 467, 505])
def test_schedules_that_failed_once(stage: Stage, seed: int) -> None:
    verdict = stage.judge(seed)
    assert not verdict.problems, str(verdict)


@pytest.mark.acceptance("A8")
async def test_closing_in_the_instant_in_which_the_last_turn_ends(tmp_path: Path) -> None:
    """Between the end of a turn's task and the callback that crosses it out, the loop is closed."""
    async with StatefulAgentLoop(llm=ScriptedLLM(), db_path=tmp_path / "a.db") as loop:
        runner = (await loop._open()).runner

        async def turn() -> Any:
            return None

        task = asyncio.create_task(turn())
        runner._running[task] = StopSignal()
        task.add_done_callback(runner._ended)
        await asyncio.sleep(0)
        assert task.done()
        assert runner._running, "it is not crossed out yet"
        await loop.aclose()


class Late:
    """A store whose histories come late: as late as a thread that has much to do."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def history(self, session: SessionId) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return await self._store.history(session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.acceptance("D1")
@pytest.mark.parametrize("fate", ["taken", "made again"])
async def test_a_driver_that_was_robbed_before_it_read_asks_no_model(tmp_path: Path, fate: str) -> None:
    """What it would read is another's turn in the middle of its calls, or another session altogether."""
    working, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> str:
        """Works."""
        working.set()
        await go_on.wait()
        return "done"

    robbed, llm = ScriptedLLM(["never"]), ScriptedLLM([calls(("work", {})), "all done"])
    late = Late(await open_store(tmp_path / "a.db"))
    zombie = StatefulAgentLoop(llm=robbed, store=late)  # type: ignore[arg-type]
    async with zombie, StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[work]) as heir:
        await zombie.create_session("s")
        sending = asyncio.create_task(zombie.send("go", "s"))
        await late.asked.wait()
        if fate == "taken":
            taking = asyncio.create_task(heir.resume("s", force=True))
        else:
            await heir.abort_pending("s", force=True)
            await heir.delete_session("s")
            await heir.create_session("s")
            taking = asyncio.create_task(heir.send("another", "s"))
        await working.wait()
        late.may_answer.set()
        with pytest.raises(EpochLostError if fate == "taken" else SessionNotFoundError):
            await sending
        assert robbed.requests == []
        go_on.set()
        assert (await taking).final_text == "all done"
    await late.aclose()


@pytest.mark.acceptance("C6")
async def test_what_given_up_work_raised_just_before_is_no_reason_for_a_warning() -> None:
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))

    async def fails() -> None:
        raise ValueError("it does not work")

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    await give_up([task])
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert unheard == []
