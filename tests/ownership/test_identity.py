"""What names a thing names one thing: requests without a session, keys of sessions made again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import AgentLoopConfig, SessionPendingError, StatefulAgentLoop, Status, ToolContext, tool


@pytest.mark.acceptance("B5")
async def test_a_request_without_a_session_is_stored_once_too(tmp_path: Path) -> None:
    llm = ScriptedLLM(["hello", "other"])
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db") as loop:
        first, again = await asyncio.gather(*(loop.send("hi", request_id="order-7") for _ in range(2)))
        other = await loop.send("hi", request_id="order-8")
        assert (first.session_id, first.final_text) == (again.session_id, again.final_text)
        assert other.session_id != first.session_id
        assert len(llm.requests) == 2
        assert len(await loop.list_sessions()) == 2


@pytest.mark.acceptance("B2")
async def test_a_session_made_again_has_other_idempotency_keys(tmp_path: Path) -> None:
    keys: list[str] = []

    @tool
    def pay(amount: int, context: ToolContext) -> str:
        """Pay."""
        keys.append(context.idempotency_key)
        return "paid"

    llm = ScriptedLLM([calls(("pay", {"amount": 1})), "done"] * 2)
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[pay]) as loop:
        for _ in range(2):
            await loop.create_session("customer 42")
            await loop.send("pay", "customer 42")
            await loop.delete_session("customer 42")
    assert len(set(keys)) == 2


@pytest.mark.acceptance("B1")
async def test_open_calls_are_named_before_the_missing_model(tmp_path: Path) -> None:
    entered = asyncio.Event()

    @tool
    async def wait() -> str:
        """Waits for ever."""
        entered.set()
        await asyncio.Event().wait()
        return ""

    llm = ScriptedLLM([calls(("wait", {}))])
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[wait]) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        await entered.wait()
        sending.cancel()
        await asyncio.wait([sending])
    async with StatefulAgentLoop(db_path=tmp_path / "a.db") as loop:
        with pytest.raises(SessionPendingError) as refused:
            await loop.send("again", "s")
        assert [call.name for call in refused.value.calls] == ["wait"]


@pytest.mark.acceptance("C2")
async def test_a_model_that_only_ever_calls_tools_hits_the_round_limit(tmp_path: Path) -> None:
    @tool(effect="read")
    def look() -> str:
        """Look."""
        return "seen"

    llm, config = ScriptedLLM([calls(("look", {}))] * 3), AgentLoopConfig(max_rounds=2)
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", tools=[look], config=config) as loop:
        result = await loop.send("go")
        assert (result.status, result.rounds) == (Status.HIT_ROUND_LIMIT, 2)
        stored = await loop.get_messages(result.session_id)
        assert [m.role for m in stored] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
        assert stored[-1].tool_calls == ()
        assert stored[-1].text == result.final_text
