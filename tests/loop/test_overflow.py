"""An endpoint that finds a request too long: its figures count, one compaction, one more request, or a typed error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest
from power_loop import ContextOverflowError, StatefulAgentLoop, Status, tool
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.engine import facts as f
from power_loop.errors import WindowTooSmallError
from power_loop.testing import Asked, Reply, ScriptedServer
from tests.loop.kit import dump, history_is_valid, open_loop, service, shown, valid

pytestmark = pytest.mark.acceptance("E5")

LONG = "a long story about nothing much, told twice. " * 10
NOTE = "the story so far"


@tool(effect="read")
async def look(what: str = "") -> str:
    """Looks."""
    return f"seen {what}: {LONG}"


@pytest.fixture
async def narrow() -> AsyncIterator[ScriptedServer]:
    """An endpoint with a window of 1,500 tokens, whatever its users believe."""
    with ScriptedServer(said, context_window=1500) as server:
        yield server


def said(asked: Asked) -> Reply:
    if INSTRUCTIONS in str(asked.messages[0]["content"]):
        return Reply(text=NOTE)
    if asked.tools and asked.last == "user" and "look" in asked.last_user_text:
        return Reply(calls=Reply.calling(("look", {"what": "here"})).calls)
    return Reply(text=f"answer {asked.user}")


def is_summary(body: Any) -> bool:
    return INSTRUCTIONS in str(body["messages"][0]["content"])


async def filled(loop: StatefulAgentLoop, turns: int, **more: Any) -> None:
    await loop.create_session("s", system_prompt="be good")
    for number in range(turns):
        await loop.send(f"input {number} {LONG}", "s", **more)


async def test_the_figures_are_stored_history_is_folded_once_and_the_model_asked_once_more(
    tmp_path: Path, narrow: ScriptedServer
) -> None:
    async with open_loop(tmp_path, service(narrow)) as loop:  # it believes in 128,000 tokens
        await filled(loop, 9)
        before = len(narrow.requests)
        events = [event async for event in loop.stream(f"one more {LONG * 3}", "s")]
        result: Any = events[-1]
        assert (result.status, result.final_text[:6]) == (Status.COMPLETED, "answer")
        refused, summary, answered = [request.body for request in narrow.requests[before:]]
        assert is_summary(summary)
        assert len(answered["messages"]) < len(refused["messages"])
        (overflow,) = [event for event in events if isinstance(event, f.ContextOverflowed)]
        assert overflow.limit == 1500
        assert overflow.requested is not None
        assert overflow.requested > 1500
        (folded,) = [event for event in events if isinstance(event, f.HistoryCompacted)]
        assert folded.before_tokens >= overflow.requested
        assert folded.after_tokens < 1500
        usage = await loop.get_usage("s", turn=result.turn)
        assert [call.purpose for call in usage] == ["overflow", "summary", "answer"]
        assert usage.calls[0].prompt_tokens == overflow.requested
        assert usage.total == result.usage, "what was refused is in no sum"
        assert await history_is_valid(loop, "s")
        in_use = (usage.calls[-1].prompt_tokens or 0) + (usage.calls[-1].completion_tokens or 0)
        assert result.context_left == round(100 * (1 - in_use / 1500), 1), "of the window that the endpoint has"
        last = [event for event in events if isinstance(event, f.AnswerReceived)][-1]
        assert last.model_call.context is not None
        assert last.model_call.context.left == result.context_left, "events say it too"


async def test_what_an_endpoint_said_of_its_window_is_remembered(tmp_path: Path, narrow: ScriptedServer) -> None:
    async with open_loop(tmp_path, service(narrow)) as loop:
        await filled(loop, 40)
        usage = await loop.get_usage("s")
        assert [call.purpose for call in usage].count("overflow") == 1, "then history is folded before it is refused"
        assert len(await loop.get_compactions("s")) > 2


async def test_between_rounds_too(tmp_path: Path, narrow: ScriptedServer) -> None:
    async with open_loop(tmp_path, service(narrow), tools=[look]) as loop:
        await filled(loop, 10)
        result = await loop.send(f"look around {LONG}", "s")
        assert result.status is Status.COMPLETED
        assert [call.purpose for call in await loop.get_usage("s", turn=result.turn)].count("overflow") == 1
        assert await history_is_valid(loop, "s")


async def test_a_second_refusal_is_an_error_with_the_figures(tmp_path: Path, narrow: ScriptedServer) -> None:
    """Folding helps a little, and not enough: the request itself is what is too long."""
    async with open_loop(tmp_path, service(narrow)) as loop:
        await filled(loop, 3)
        before = len(narrow.requests)
        with pytest.raises(ContextOverflowError) as caught:
            await loop.send(f"far too long {LONG * 15}", "s")
        assert caught.value.limit == 1500
        assert caught.value.requested is not None
        assert caught.value.requested > 1500
        assert [is_summary(request.body) for request in narrow.requests[before:]] == [False, True, False]
        assert (await loop.get_turns("s"))[-1].error_code == "model.context_overflow"
        assert (await loop.get_session("s")).state == "failed", "the input stays"
        assert (await loop.get_messages("s"))[-1].text.startswith("far too long")


async def test_what_must_stay_is_too_long_by_how_much(tmp_path: Path, narrow: ScriptedServer) -> None:
    async with open_loop(tmp_path, service(narrow)) as loop:
        await loop.create_session("s")
        with pytest.raises(WindowTooSmallError) as caught:
            await loop.send(f"far too long {LONG * 20}", "s")
        error = caught.value
        assert (error.window, error.over) == (1500, error.needed - 1500)
        assert error.over > 0
        assert f"{error.over:,} too many" in str(error)
        assert len(narrow.requests) == 1, "there is nothing to fold, and nobody is asked again"


async def test_where_history_is_never_folded_the_refusal_is_the_error(tmp_path: Path, narrow: ScriptedServer) -> None:
    async with open_loop(tmp_path, service(narrow), compaction="none") as loop:
        with pytest.raises(ContextOverflowError):
            await filled(loop, 20)
        assert dump(tmp_path)["compactions"] == []
    async with open_loop(tmp_path, service(narrow)) as loop:
        assert (await loop.resume("s")).status is Status.COMPLETED, "with compactions it goes on"


async def test_without_figures_there_is_one_compaction_too(tmp_path: Path) -> None:
    asked: list[ChatRequest] = []

    def model(request: ChatRequest) -> str:
        asked.append(request)
        if INSTRUCTIONS in request.messages[0]:
            return NOTE
        if sum(map(len, request.messages)) > 3000:
            raise ContextOverflowError("too long")
        return "fine"

    async with open_loop(tmp_path, ScriptedLLM([model] * 50)) as loop:
        await filled(loop, 8)
        assert sum(INSTRUCTIONS in request.messages[0] for request in asked) >= 1
        assert valid(*asked)
        assert (await loop.get_usage("s")).calls[-1].purpose == "answer"


async def test_a_summary_that_is_too_long_itself_loses_the_oldest_results_with_their_calls(tmp_path: Path) -> None:
    summaries: list[str] = []

    def model(request: ChatRequest) -> Any:
        text = "".join(request.messages)
        if INSTRUCTIONS in request.messages[0]:
            summaries.append(json.loads(request.messages[1])["content"])
        if len(text) > (2000 if INSTRUCTIONS in request.messages[0] else 6000):
            raise ContextOverflowError("too long", limit=1500, requested=max(1600, len(text) // 4))
        if INSTRUCTIONS in request.messages[0]:
            return NOTE
        return calls(("look", {"what": str(len(text))})) if '"role":"user"' in request.messages[-1] else "seen"

    async with open_loop(tmp_path, ScriptedLLM([model] * 100), tools=[look], compaction="summary") as loop:
        await loop.create_session("s", system_prompt="be good")
        for number in range(12):
            result = await loop.send(f"look at number {number}", "s")
            assert result.status is Status.COMPLETED
        assert await history_is_valid(loop, "s")
    shorter = [(one, two) for one, two in pairwise(summaries) if len(two) < len(one)]
    assert shorter, "the same was asked again, with less"
    one, two = shorter[0]
    gone = [line for line in one.split("\n\n") if line not in two.split("\n\n")]
    assert gone
    assert all(line.startswith(("assistant: (calls look", "tool: seen")) for line in gone), "results, with their calls"
    assert [line for line in one.split("\n\n") if line.startswith("user:")] == [
        line for line in two.split("\n\n") if line.startswith("user:")
    ]


async def test_if_even_that_does_not_help_the_error_has_the_figures(tmp_path: Path) -> None:
    def model(request: ChatRequest) -> str:
        if INSTRUCTIONS in request.messages[0] or len(request.messages) > 4:
            raise ContextOverflowError("too long", limit=1000, requested=1300)
        return "fine"

    async with open_loop(tmp_path, ScriptedLLM([model] * 50), when_full=()) as loop:
        with pytest.raises(ContextOverflowError) as caught:
            await filled(loop, 8)
        assert (caught.value.limit, caught.value.requested) == (1000, 1300)
        assert "the summary request itself was too long" in str(caught.value)
        assert (await loop.get_session("s")).failed_compactions == 1
        assert dump(tmp_path)["compactions"] == []


async def test_where_nothing_else_can_go_results_go_that_the_model_has_not_seen(tmp_path: Path) -> None:
    """One round of three huge results: the newest round stays, unless the endpoint refuses it."""
    seen: list[ChatRequest] = []

    def model(request: ChatRequest) -> Any:
        seen.append(request)
        if sum(map(len, request.messages)) > 3500:
            raise ContextOverflowError("too long", limit=1000, requested=1300)
        if '"role":"user"' in request.messages[-1]:
            return AssistantMessage(tool_calls=calls(*[("look", {"what": LONG * 3})] * 2).tool_calls)
        return "done"

    async with open_loop(tmp_path, ScriptedLLM([model] * 9), tools=[look]) as loop:
        await loop.create_session("s")
        result = await loop.send("look twice", "s")
        assert result.final_text == "done"
        assert any("cleared to save room" in line for line in shown(seen[-1]))
        stored = await loop.get_messages("s", include_compacted=True)
        assert sum(message.state == "compacted_out" and LONG in message.text for message in stored) >= 1
        assert valid(*seen)
