"""Every way a turn ends, as its result says it and as it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage, ToolCall
from llm_client.scripted import ScriptedLLM, calls, says
from llm_client.service import Usage
from power_loop import (
    ModelError,
    SessionState,
    StatefulAgentLoop,
    StatefulResult,
    Status,
    ToolContext,
    TurnState,
    tool,
)
from power_loop.errors import ModelRequestError
from power_loop.loop.ask import STILL_ASKING
from power_loop.store.records import TurnInfo
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import history_is_valid, open_loop, service, shown, streamed, stuck_in, valid


@tool(effect="read")
def look(what: str = "it") -> str:
    """Looks."""
    return f"saw {what}"


async def stored(loop: Any, result: StatefulResult) -> TurnInfo:
    turn: TurnInfo = (await loop.get_turns(result.session_id))[result.turn - 1]
    assert turn.number == result.turn
    assert turn.status == result.status
    assert turn.stop_reason == result.stop_reason
    assert turn.rounds == result.rounds
    assert turn.ended_at is not None
    usage = await loop.get_usage(result.session_id, turn=result.turn)
    assert usage.total == result.usage
    return turn


@pytest.mark.acceptance("C1")
async def test_completed(tmp_path: Path) -> None:
    script = [calls(("look", {}), ("look", {"what": "them"})), calls(("look", {})), says("seen")]
    async with open_loop(tmp_path, script, tools=[look]) as loop:
        result = await loop.send("look")
        turn = await stored(loop, result)
        assert (result.status, result.final_text, result.stop_reason, result.rounds) == ("completed", "seen", "stop", 3)
        assert (turn.state, turn.tool_calls, turn.error, turn.error_code) == (TurnState.DONE, 3, None, None)
        assert result.pending_tool_calls == ()
        assert (await loop.get_session(result.session_id)).state is SessionState.IDLE


@pytest.mark.acceptance("C1", "C2")
async def test_hit_round_limit(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply.calling(("look", {})), Reply.calling(("look", {})), Reply(text="so far")])
    async with open_loop(tmp_path, service(server), tools=[look], max_rounds=2) as loop:
        result = await loop.send("look")
        turn = await stored(loop, result)
        assert (result.status, result.final_text, result.rounds) == (Status.HIT_ROUND_LIMIT, "so far", 2)
        assert (turn.state, turn.tool_calls, turn.stop_reason) == (TurnState.DONE, 2, "max_rounds of 2 reached")
        assert [bool(request.body.get("tools")) for request in server.requests] == [True, True, False]
        assert [message.text for message in await loop.get_messages(result.session_id)][-1] == "so far"
        # The next turn has all its rounds again.
        server.use([Reply.calling(("look", {})), Reply(text="fine")])
        assert (await loop.send("again", result.session_id)).status is Status.COMPLETED


@pytest.mark.acceptance("C2")
async def test_calls_in_a_wrap_up_are_dropped_and_its_words_kept(tmp_path: Path) -> None:
    wanted = ToolCall(id="c", name="look", arguments="{}")
    llm = ScriptedLLM([calls(("look", {})), AssistantMessage(content="I would look again", tool_calls=(wanted,))])
    async with open_loop(tmp_path, llm, tools=[look], max_rounds=1) as loop:
        result = await loop.send("look")
        assert (result.status, result.final_text) == (Status.HIT_ROUND_LIMIT, "I would look again")
        assert (await loop.get_messages(result.session_id))[-1].tool_calls == ()
        assert len(await loop.get_calls(result.session_id)) == 1
        await history_is_valid(loop, result.session_id)


@pytest.mark.acceptance("C2")
async def test_a_wrap_up_of_nothing_but_calls_ends_the_turn_and_says_so(tmp_path: Path) -> None:
    llm = ScriptedLLM([calls(("look", {})), calls(("look", {}))])
    async with open_loop(tmp_path, llm, tools=[look], max_rounds=1) as loop:
        result = await loop.send("look")
        assert (result.status, result.final_text) == (Status.HIT_ROUND_LIMIT, STILL_ASKING)
        assert llm.requests[1].tools == ()
        assert len(await loop.get_calls(result.session_id)) == 1


@pytest.mark.acceptance("C2")
async def test_the_wrap_up_is_retried_like_any_request(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply.calling(("look", {})), Reply.says("late").with_fault("status", status=503, times=1)])
    async with open_loop(tmp_path, service(server), tools=[look], max_rounds=1) as loop:
        assert (await loop.send("look")).final_text == "late"
    assert [request.status for request in server.requests] == [200, 503, 200]


@pytest.mark.acceptance("C2")
async def test_rounds_count_on_over_a_resume(tmp_path: Path) -> None:
    failing = ModelRequestError("no")
    async with open_loop(tmp_path, [calls(("look", {})), failing, "enough"], tools=[look], max_rounds=1) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelRequestError):
            await loop.send("look", "s")
        result = await loop.resume("s")
        assert (result.status, result.rounds) == (Status.HIT_ROUND_LIMIT, 0)
        assert [turn.rounds for turn in await loop.get_turns("s")] == [1, 0]


@pytest.mark.acceptance("C1")
async def test_cancelled(tmp_path: Path) -> None:
    entered = asyncio.Event()

    @tool
    async def hang() -> str:
        """Hangs."""
        entered.set()
        await asyncio.Event().wait()
        return ""

    async with open_loop(tmp_path, [calls(("look", {}), ("hang", {}))], tools=[look, hang]) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, entered):
            sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        (turn,) = await loop.get_turns("s")
        assert (turn.state, turn.status, turn.stop_reason) == ("cancelled", "cancelled", "the caller was cancelled")
        assert (turn.rounds, turn.tool_calls) == (1, 2)
        assert len(await loop.get_usage("s", turn=1)) == 1
        info = await loop.get_session("s")
        assert (info.state, info.stop_reason) == (SessionState.STOPPED, "the caller was cancelled")
        assert [(call.name, call.state) for call in info.pending] == [("hang", "in_doubt")]


@pytest.mark.acceptance("C1")
async def test_stopped(tmp_path: Path) -> None:
    stop = asyncio.Event()

    @tool
    async def hang(context: ToolContext) -> str:
        """Hangs."""
        stop.set()
        await asyncio.Event().wait()
        return ""

    async with open_loop(tmp_path, [calls(("hang", {}), ("look", {}))], tools=[look, hang]) as loop:
        result = await loop.send("go", stop_event=stop)
        turn = await stored(loop, result)
        assert (result.status, result.stop_reason) == (Status.STOPPED, "the stop event was set")
        assert (turn.state, turn.tool_calls) == (TurnState.CANCELLED, 2)
        pending = [(call.name, call.state, call.attempt) for call in result.pending_tool_calls]
        assert pending == [("hang", "in_doubt", 1), ("look", "requested", 0)]


@pytest.mark.acceptance("C1")
async def test_a_turn_whose_stop_event_is_set_already_asks_no_model(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    llm = ScriptedLLM(["never"])
    async with open_loop(tmp_path, llm) as loop:
        result = await loop.send("go", stop_event=stop)
        assert (result.status, llm.requests) == (Status.STOPPED, [])
        assert (await loop.resume(result.session_id)).final_text == "never"


@pytest.mark.acceptance("C1")
async def test_pending_tools(tmp_path: Path) -> None:
    stop = asyncio.Event()

    @tool
    async def once(context: ToolContext) -> str:
        """Works once."""
        if context.attempt == 1:
            stop.set()
            await asyncio.Event().wait()
        return f"attempt {context.attempt}"

    async with open_loop(tmp_path, [calls(("once", {})), "done"], tools=[once], in_doubt="ask") as loop:
        session = (await loop.send("go", stop_event=stop)).session_id
        result = await loop.resume(session)
        turn = await stored(loop, result)
        assert (result.status, turn.state, turn.origin) == (Status.PENDING_TOOLS, TurnState.WAITING, 1)
        assert result.stop_reason is not None
        assert "resolve()" in result.stop_reason
        (call,) = result.pending_tool_calls
        await loop.resolve(session, call.id, retry=True)
        result = await loop.resume(session)
        assert (result.status, result.final_text) == (Status.COMPLETED, "done")
        assert [call.attempt for call in await loop.get_calls(session)] == [2]
        await stored(loop, result)


@pytest.mark.acceptance("C1", "B5")
async def test_failed(tmp_path: Path) -> None:
    async with open_loop(tmp_path, [ModelRequestError("the endpoint says no", status=400), "yes"]) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelRequestError):
            await loop.send("go", "s")
        (turn,) = await loop.get_turns("s")
        assert (turn.state, turn.status, turn.error_code) == (TurnState.FAILED, "failed", "model.request")
        assert turn.error == "the endpoint says no"
        info = await loop.get_session("s")
        assert (info.state, info.error, info.needs_attention) == (SessionState.FAILED, "the endpoint says no", True)
        assert (await loop.resume("s")).final_text == "yes"


@pytest.mark.acceptance("C1")
async def test_a_refusal_is_a_last_word(tmp_path: Path) -> None:
    async with open_loop(tmp_path, [AssistantMessage(refusal="I will not")]) as loop:
        result = await loop.send("go")
        assert (result.status, result.final_text) == (Status.COMPLETED, "I will not")


@pytest.mark.acceptance("A5")
async def test_usage_is_stored_for_every_model_call(tmp_path: Path, server: ScriptedServer) -> None:
    def reply(asked: Any) -> Reply:
        usage = {
            "prompt_tokens": 100 * asked.number,
            "completion_tokens": asked.number,
            "total_tokens": 101 * asked.number,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 1},
        }
        return Reply.calling(("look", {})) if asked.round == 0 else Reply(text="ok", usage=usage)

    server.use(reply)
    async with open_loop(tmp_path, service(server), tools=[look]) as loop:
        session = await loop.create_session()
        results = [await loop.send(f"look {n}", session) for n in range(4)]
        usage = await loop.get_usage(session)
        assert len(usage) == 8
        assert [call.turn for call in usage] == [1, 1, 2, 2, 3, 3, 4, 4]
        assert {call.purpose for call in usage} == {"answer"}
        told = [call for call in usage if call.prompt_tokens and call.prompt_tokens % 100 == 0 and call.cached_tokens]
        assert [call.prompt_tokens for call in told] == [200, 400, 600, 800]
        assert {(call.cached_tokens, call.reasoning_tokens) for call in told} == {(10, 1)}
        assert usage.by_turn == {result.turn: result.usage for result in results}
        assert usage.cost is None, "an unknown price is not 0"
        assert usage.prompt_tokens == sum(call.prompt_tokens or 0 for call in usage)


@pytest.mark.acceptance("A5")
async def test_an_endpoint_that_counts_nothing_is_not_said_to_cost_nothing(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ScriptedLLM(["hi"], usage=None)) as loop:
        result = await loop.send("hello")
        (call,) = await loop.get_usage(result.session_id)
        assert (call.prompt_tokens, call.completion_tokens, call.cost) == (None, None, None)
        assert result.usage == Usage(prompt_tokens=0, completion_tokens=0)


@pytest.mark.acceptance("L7")
@pytest.mark.parametrize("send", [StatefulAgentLoop.send, streamed])
@pytest.mark.parametrize("error", [ValueError("broken \ud800"), asyncio.CancelledError("from within"), KeyError("x")])
async def test_a_model_service_that_breaks_its_contract_fails_the_turn_and_nothing_else(
    tmp_path: Path, error: BaseException, send: Callable[..., Awaitable[StatefulResult]]
) -> None:
    def breaks(request: object) -> Any:
        raise error

    async with open_loop(tmp_path, [breaks, "fine"]) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelError) as caught:
            await send(loop, "go", "s")
        assert caught.value.code == "model.error"
        assert caught.value.__cause__ is error
        assert (await loop.get_session("s")).state is SessionState.FAILED
        assert (await loop.resume("s")).final_text == "fine"


@pytest.mark.acceptance("L7")
async def test_an_answer_that_is_none_is_a_models_error(tmp_path: Path) -> None:
    class Wrong(ScriptedLLM):
        async def complete(self, request: Any) -> Any:
            return "not an Answer"

    async with open_loop(tmp_path, Wrong()) as loop:
        await loop.create_session("s")
        with pytest.raises(ModelError, match="str where an Answer is due"):
            await loop.send("go", "s")


async def test_what_no_file_can_carry_is_replaced(tmp_path: Path) -> None:
    llm = ScriptedLLM([AssistantMessage(content="cut \ud83d", provider={"note": "\udc00"}), "ok"])
    async with open_loop(tmp_path, llm) as loop:
        result = await loop.send("go")
        assert result.final_text == "cut \ufffd"
        assert (await loop.send("more", result.session_id)).final_text == "ok"
        assert shown(llm.requests[-1])[1] == "assistant: cut \ufffd"
        assert valid(*llm.requests)
