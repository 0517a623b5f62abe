"""The store refuses in the middle of a turn: a typed error, nothing acknowledged, and a way on."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import SessionState, StoreBusyError, ToolContext, tool
from tests.loop.kit import dump, history_is_valid, no_transaction, open_loop, shown, valid


class Lock:
    """Another program that holds the write lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "agent.db"

    def take(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        self._db.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._db.execute("ROLLBACK")
        self._db.close()


@pytest.mark.acceptance("A2", "L7")
async def test_a_result_that_cannot_be_recorded_leaves_the_call_in_doubt(tmp_path: Path) -> None:
    lock, ran = Lock(tmp_path), []

    @tool
    async def write(context: ToolContext) -> str:
        """Writes, while another program locks the database."""
        ran.append(context.attempt)
        lock.take()
        return "written"

    llm = ScriptedLLM([calls(("write", {}), ("write", {})), "I will look"])
    async with open_loop(tmp_path, llm, tools=[write], busy_timeout=0.05) as loop:
        await loop.create_session("s")
        with pytest.raises(StoreBusyError) as caught:
            await loop.send("go", "s")
        assert caught.value.code == "store.busy"
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        lock.release()
        no_transaction(tmp_path)
        info = await loop.get_session("s")
        assert info.state is SessionState.INTERRUPTED_IN_TOOLS, "nobody drives it, though its end could not be written"
        assert [(call.name, call.state) for call in info.pending] == [("write", "in_doubt"), ("write", "requested")]
        assert ran == [1]
        assert (await loop.resume("s", decisions={info.pending[1].id: "abort"})).final_text == "I will look"
        assert ran == [1]
        assert [text[:24] for text in shown(llm.requests[1])[2:]] == [
            "tool: [outcome unknown] ",
            "tool: [aborted: given up",
        ]
        assert valid(*llm.requests)
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("A2", "B5")
async def test_an_answer_that_cannot_be_recorded_is_asked_for_again(tmp_path: Path) -> None:
    lock = Lock(tmp_path)

    def locked(request: Any) -> str:
        lock.take()
        return "lost"

    async with open_loop(tmp_path, [locked, "kept"], busy_timeout=0.05) as loop:
        await loop.create_session("s")
        with pytest.raises(StoreBusyError):
            await loop.send("go", "s", request_id="r")
        lock.release()
        assert [message.text for message in await loop.get_messages("s")] == ["go"]
        assert (await loop.send("go", "s", request_id="r")).final_text == "kept"
        assert [message.text for message in await loop.get_messages("s")] == ["go", "kept"]


@pytest.mark.acceptance("A2", "L7")
async def test_an_input_that_cannot_be_stored_is_not_half_stored(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    async with open_loop(tmp_path, ["hi", "again"], busy_timeout=0.05) as loop:
        session = (await loop.send("hello")).session_id
        before = dump(tmp_path)
        lock.take()
        refused = (
            loop.send("more", session),
            loop.send("a new one"),
            loop.create_session("s"),
            loop.abort_pending(session),
            loop.close_session(session),
        )
        for call in refused:
            with pytest.raises(StoreBusyError):
                await call
        assert (await loop.get_session(session)).state is SessionState.IDLE, "reading goes on"
        lock.release()
        assert dump(tmp_path) == before
        assert (await loop.send("more", session)).final_text == "again"


@pytest.mark.acceptance("A2")
async def test_a_lock_that_is_given_up_in_time_is_waited_for(tmp_path: Path) -> None:
    """The event loop runs on meanwhile: it is the one that releases the lock."""
    lock = Lock(tmp_path)
    async with open_loop(tmp_path, ["hi"], busy_timeout=20) as loop:
        await loop.create_session("s")
        lock.take()
        sending = asyncio.create_task(loop.send("hello", "s"))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not sending.done()
        lock.release()
        assert (await sending).final_text == "hi"
