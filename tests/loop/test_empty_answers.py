"""An answer without text and without calls is dropped and asked for once more; nothing of it is in the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls
from power_loop import OutputInvalidError, SessionState, Status, tool
from power_loop.engine import facts as f
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import open_loop, service

EMPTY = [
    AssistantMessage(content=None),
    AssistantMessage(content=""),
    AssistantMessage(content=" \n"),
    AssistantMessage(content=None, provider={"reasoning_content": "I could say something"}),
]


@pytest.mark.acceptance("C7")
@pytest.mark.parametrize("empty", EMPTY)
async def test_one_empty_answer_costs_and_leaves_no_trace(tmp_path: Path, empty: AssistantMessage) -> None:
    llm = ScriptedLLM([empty, "hello"])
    async with open_loop(tmp_path, llm) as loop:
        result = await loop.send("hi")
        assert (result.final_text, result.rounds) == ("hello", 1)
        assert llm.requests[0] == llm.requests[1]
        assert [message.role for message in await loop.get_messages(result.session_id)] == ["user", "assistant"]
        usage = await loop.get_usage(result.session_id)
        assert [call.purpose for call in usage] == ["dropped", "answer"]
        assert usage.total == result.usage


@pytest.mark.acceptance("C7")
async def test_over_the_wire_and_streamed(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply(reasoning="hmm"), Reply(text="hello")])
    async with open_loop(tmp_path, service(server)) as loop:
        events = [event async for event in loop.stream("hi")]
        kinds = [type(event) for event in events]
        assert kinds.count(f.AnswerDropped) == 1
        assert kinds.index(f.AnswerDropped) < kinds.index(f.AnswerReceived)
    assert server.requests[0].messages == server.requests[1].messages


@pytest.mark.acceptance("C7")
async def test_a_second_one_raises_and_the_input_stays(tmp_path: Path) -> None:
    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        return "seen"

    script = [calls(("look", {})), *EMPTY[:2], "at last"]
    async with open_loop(tmp_path, script, tools=[look]) as loop:
        await loop.create_session("s")
        with pytest.raises(OutputInvalidError, match="answered twice without text") as caught:
            await loop.send("hi", "s")
        assert caught.value.code == "model.output_invalid"
        assert [message.role for message in await loop.get_messages("s")] == ["user", "assistant", "tool"]
        assert [call.purpose for call in await loop.get_usage("s")] == ["answer", "dropped", "dropped"]
        (turn,) = await loop.get_turns("s")
        assert (turn.status, turn.error_code, turn.rounds) == ("failed", "model.output_invalid", 1)
        assert (await loop.get_session("s")).state is SessionState.FAILED
        result = await loop.resume("s")
        assert (result.status, result.final_text) == (Status.COMPLETED, "at last")
