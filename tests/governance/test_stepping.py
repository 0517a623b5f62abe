"""G6: which tools when; a move applies to the next call, and survives a kill; a premature stop is guided on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import calls, says
from power_loop import CallState, ConfigError, Status, tool
from power_loop.loop.stepping import Stepping
from power_loop.loop.watching import seen_call
from power_loop.rules import Move, Step, Steps, called
from power_loop.testing import ScriptedServer
from power_loop.values import CallKey
from tests.governance.kit import a_loop, die, in_a_child, look, pay, remembered, said
from tests.loop.kit import history_is_valid, open_loop, service, valid

pytestmark = pytest.mark.acceptance("G6")


def steps(**more: Any) -> Steps:
    return Steps(
        [Step("plan", allow=("look",), guidance="Look first."), Step("act", block=("look",), final=True)],
        moves=[Move("plan", "act", called("look"))],
        **more,
    )


async def test_a_tool_of_another_step_is_refused_and_the_refusal_says_what_is_allowed(tmp_path: Path) -> None:
    script = [calls(("pay", {"amount": 1})), calls(("look", {})), calls(("look", {})), says("done")]
    async with a_loop(tmp_path, script, steps=steps()) as loop:
        result = await loop.send("go")
        assert result.status is Status.COMPLETED
        lines = [line for line in await said(loop, result.session_id) if line.startswith("tool")]
        assert lines == [
            "tool: [denied] pay is not allowed in the step 'plan'. Allowed here: look.",
            "tool: saw it",
            "tool: [denied] look is not allowed in the step 'act'. Allowed here: pay.",
        ]
        states = [(call.name, call.state, call.attempt) for call in await loop.get_calls(result.session_id)]
        assert states == [
            ("pay", CallState.DENIED, 0),
            ("look", CallState.SUCCEEDED, 1),
            ("look", CallState.DENIED, 0),
        ]


async def test_only_the_tools_of_the_step_are_offered(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [calls(("look", {})), says("done")], steps=steps()) as loop:
        await loop.send("go")
        offered = [[name for name in ("look", "pay") if f'"{name}"' in str(r.tools)] for r in loop._llm.requests]
        assert offered == [["look"], ["pay"]]


async def test_a_move_applies_to_the_next_call_of_the_same_answer(tmp_path: Path) -> None:
    script = [calls(("look", {}), ("pay", {"amount": 5})), says("done")]
    async with a_loop(tmp_path, script, steps=steps()) as loop:
        session = (await loop.send("go")).session_id
        assert [line for line in await said(loop, session) if line.startswith("tool")] == [
            "tool: saw it",
            "tool: paid 5",
        ]


async def test_a_stop_too_early_is_answered_with_guidance_so_many_times_and_no_more(tmp_path: Path) -> None:
    script = [says("done?"), says("really?"), says("I give up"), says("done?"), calls(("look", {})), says("done")]
    async with a_loop(tmp_path, script, steps=steps(guidance_limit=2)) as loop:
        result = await loop.send("go")
        assert (result.status, result.final_text, result.rounds) == (Status.COMPLETED, "I give up", 3)
        assert (await said(loop, result.session_id)).count("user: Look first.") == 2
        assert valid(*loop._llm.requests)
        result = await loop.send("once more", result.session_id)
        assert (result.final_text, result.rounds) == ("done", 3)
        assert (await said(loop, result.session_id)).count("user: Look first.") == 3, "counted anew for each input"


async def test_at_the_limit_of_rounds_a_turn_ends_in_whatever_step(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [says("done?"), says("so be it")], steps=steps(), max_rounds=1) as loop:
        result = await loop.send("go")
        assert (result.status, result.final_text) == (Status.HIT_ROUND_LIMIT, "so be it")


@pytest.mark.parametrize("rounds", [1, 2])
async def test_the_step_survives_turns_restarts_and_kills(tmp_path: Path, rounds: int) -> None:
    @tool
    def dies() -> str:
        """Ends the process."""
        die()
        return ""

    async def killed() -> None:
        script = [calls(("look", {}), ("dies", {}))] if rounds == 1 else [calls(("look", {})), calls(("dies", {}))]
        async with a_loop(tmp_path, script, tools=[look, pay, dies], steps=steps()) as loop:
            await loop.create_session("s")
            await loop.send("go", "s")

    assert in_a_child(killed) == signal.SIGKILL
    async with a_loop(tmp_path, [calls(("look", {}), ("pay", {"amount": 1})), says("done")], steps=steps()) as loop:
        assert (await loop.resume("s")).status is Status.COMPLETED
        lines = [line for line in await said(loop, "s") if line.startswith("tool")]
        assert lines[0] == "tool: saw it"
        assert lines[-2].startswith("tool: [denied] look is not allowed in the step 'act'")
        assert lines[-1] == "tool: paid 1"
        assert await history_is_valid(loop, "s")


async def test_what_the_host_answers_moves_the_session_too_and_once(tmp_path: Path) -> None:
    @tool(external=True)
    def confirm() -> str:
        """The host says."""
        raise AssertionError

    machine = Steps(
        [Step("asking", allow=("confirm",)), Step("acting", allow=("pay",), final=True)],
        moves=[Move("asking", "acting", called("confirm", times=2))],
    )
    script = [calls(("confirm", {})), calls(("confirm", {})), calls(("pay", {"amount": 1})), says("done")]
    async with a_loop(tmp_path, script, tools=[pay, confirm], steps=machine) as loop:
        result = await loop.send("go")
        for _ in range(2):
            assert result.status is Status.WAITING_FOR_INPUT
            [call] = result.pending_tool_calls
            result = await loop.submit_results(result.session_id, {call.id: "yes"})
        assert result.status is Status.COMPLETED
        assert "tool: paid 1" in await said(loop, result.session_id)
        assert (await remembered(loop, result.session_id))["steps"]["state"]["step"] == "acting"


async def test_a_condition_that_raises_is_said_and_counts_as_no(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(seen: Any) -> bool:
        raise KeyError("no")

    machine = Steps([Step("a"), Step("b", final=True)], moves=[Move("a", "b", broken)], guidance_limit=0)
    async with a_loop(tmp_path, [calls(("look", {})), says("done")], steps=machine) as loop:
        assert (await loop.send("go")).status is Status.COMPLETED
    assert "the move a -> b: its condition raised KeyError('no'); it is not made" in caplog.text


async def test_a_step_that_is_gone_is_a_stated_error_and_the_input_stays(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [calls(("look", {})), says("done")], steps=steps()) as loop:
        session = (await loop.send("go")).session_id
    other = Steps([Step("only", final=True)])
    async with a_loop(tmp_path, [says("hello")], steps=other) as loop:
        with pytest.raises(ConfigError, match="stands in the step 'act', which is not there: there are 'only'"):
            await loop.send("more", session)
    async with a_loop(tmp_path, [says("hello")], steps=steps()) as loop:
        assert (await loop.resume(session)).final_text == "hello"


async def test_steps_over_a_real_endpoint(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([calls(("pay", {"amount": 1})), says("?"), calls(("look", {}), ("pay", {"amount": 1})), says("done")])
    async with open_loop(tmp_path, service(server), tools=[look, pay], steps=steps()) as loop:
        assert (await loop.send("go")).final_text == "done"


def test_what_is_accounted_for_is_not_accounted_for_again() -> None:
    machine = Steps([Step("a"), Step("b", final=True)], moves=[Move("a", "b", called("look", times=2))])
    seen = seen_call("look", "{}", "saw it", "succeeded")
    stepping = Stepping.of(machine, None, resumed=False)
    memory = stepping.settled(CallKey(2, 0), seen)
    assert memory is not None
    again = Stepping.of(machine, json.loads(memory.memory), resumed=True)
    assert again.settled(CallKey(2, 0), seen) is None
    assert again.state.step == "a"
    assert again.settled(CallKey(2, 1), seen) is not None
    assert again.state.step == "b"
