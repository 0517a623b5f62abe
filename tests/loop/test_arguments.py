"""What a model gets wrong in a call: nothing runs, it is told precisely, and the history stays one a provider takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage, ToolCall
from llm_client.scripted import ScriptedLLM, calls
from power_loop import CallState, tool
from power_loop.testing import Reply, ScriptedServer
from power_loop.testing.script import Call
from tests.loop.kit import crashed, history_is_valid, open_loop, service, shown, valid

RUNS: list[Any] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


@tool
async def send_invoice(to: str, amount: int) -> str:
    """Sends an invoice."""
    RUNS.append((to, amount))
    return "sent"


@pytest.mark.acceptance("C5")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "none were written"),
        ("{", "the JSON text breaks off at its end"),
        ("[1, 2]", "they are an array, not one JSON object"),
        ('{"to": "a"}', "amount: required, but missing"),
        ('{"to": "a", "amount": "many"}', "amount: Input should be a valid integer"),
        ('{"to": "a", "amount": 1, "cc": "b"}', "cc"),
        ('{"to": null, "amount": 1}', "to: Input should be a valid string"),
        ('{"to": "a", "amount": NaN}', "NaN"),
    ],
)
async def test_broken_arguments_reach_no_function(
    tmp_path: Path, server: ScriptedServer, arguments: str, told: str
) -> None:
    server.use(
        [
            Reply(calls=(Call(name="send_invoice", arguments=arguments),)),
            Reply.calling(("send_invoice", {"to": "a", "amount": 1})),
            Reply(text="sent"),
        ]
    )
    async with open_loop(tmp_path, service(server), tools=[send_invoice]) as loop:
        result = await loop.send("bill them")
        assert RUNS == [("a", 1)]
        refused, sent = await loop.get_calls(result.session_id)
        assert (refused.state, refused.settled_by, refused.attempt) == (CallState.FAILED, "gate", 0)
        assert refused.arguments == arguments, "what the model wrote is kept as it is"
        assert sent.state is CallState.SUCCEEDED
        answer = server.requests[1].messages[-1]["content"]
        assert answer.startswith("Error: ")
        assert told in answer
        assert await history_is_valid(loop, result.session_id)


@pytest.mark.acceptance("C5")
async def test_a_function_that_raises_a_type_error_runs_once(tmp_path: Path) -> None:
    @tool
    async def odd(x: int) -> str:
        """Raises what a wrong call would raise."""
        RUNS.append(x)
        raise TypeError("odd() missing 1 required positional argument: 'y'")

    llm = ScriptedLLM([calls(("odd", {"x": 1})), "done"])
    async with open_loop(tmp_path, llm, tools=[odd]) as loop:
        await loop.send("go")
    assert RUNS == [1]
    assert shown(llm.requests[1])[2].startswith("tool: Error: TypeError: odd() missing 1 required")


@pytest.mark.acceptance("C5")
async def test_a_call_without_an_id_gets_one_and_equal_ids_are_told_apart(
    tmp_path: Path, server: ScriptedServer
) -> None:
    amounts = [1, 2, 3, 4]
    ids = ["", None, "same", "same"]
    asked = tuple(
        Call(name="send_invoice", arguments={"to": "a", "amount": amount}, id=id)
        for amount, id in zip(amounts, ids, strict=True)
    )
    server.use([Reply(calls=asked), Reply(text="sent")])
    async with open_loop(tmp_path, service(server), tools=[send_invoice]) as loop:
        result = await loop.send("bill them")
        assert [amount for _, amount in RUNS] == amounts
        ledger = [call.id for call in await loop.get_calls(result.session_id)]
        assert len(set(ledger)) == 4
        assert ledger[2] == "same"
        assert all(0 < len(id) <= 40 for id in ledger), "the API takes no longer ids"
        # The strict server has taken the history with them.
        assert [message["tool_call_id"] for message in server.requests[1].messages[-4:]] == ledger


@pytest.mark.acceptance("C5")
async def test_ids_may_come_again_in_a_later_answer(tmp_path: Path, server: ScriptedServer) -> None:
    again = Reply(calls=(Call(name="send_invoice", arguments={"to": "a", "amount": 1}, id="same"),))
    server.use([again, again, Reply(text="sent")])
    async with open_loop(tmp_path, service(server), tools=[send_invoice]) as loop:
        result = await loop.send("bill them")
        assert [(call.id, call.state) for call in await loop.get_calls(result.session_id)] == [
            ("same", "succeeded")
        ] * 2
        assert RUNS == [("a", 1)] * 2


@pytest.mark.acceptance("C5")
@pytest.mark.parametrize(
    "name",
    ["unknown", "send invoice", "send.invoice", "send_invoice\n", "функция", "f/send_invoice", "x" * 80, "🧾"],
)
async def test_a_name_that_no_tool_has_runs_no_tool(tmp_path: Path, server: ScriptedServer, name: str) -> None:
    arguments = {"to": "a", "amount": 1}
    server.use([Reply(calls=(Call(name=name, arguments=arguments),)), Reply(text="sorry")])
    async with open_loop(tmp_path, service(server, attempts=1), tools=[send_invoice]) as loop:
        session = await loop.create_session()
        result = await loop.send("bill them", session)
        assert RUNS == [], "a name that had to be guessed must not run anything"
        (call,) = await loop.get_calls(session)
        assert (call.state, call.settled_by, call.effect, call.schema_hash) == ("failed", "gate", "once", None)
        told = server.requests[1].messages[-1]["content"]
        assert told == f"Error: there is no tool named {call.name}. There are: send_invoice."
        assert result.final_text == "sorry"


@pytest.mark.acceptance("C5")
async def test_good_and_broken_calls_of_one_answer_each_get_their_own_result(tmp_path: Path) -> None:
    good = {"to": "a", "amount": 1}
    asked = calls(
        ("send_invoice", good), ("nothing", {}), ("send_invoice", "{"), ("send_invoice", {**good, "amount": 2})
    )
    llm = ScriptedLLM([asked, "done"])
    async with open_loop(tmp_path, llm, tools=[send_invoice]) as loop:
        result = await loop.send("go")
        states = [str(call.state) for call in await loop.get_calls(result.session_id)]
        assert states == ["succeeded", "failed", "failed", "succeeded"]
        assert RUNS == [("a", 1), ("a", 2)]
        assert valid(*llm.requests)


@pytest.mark.acceptance("C5")
async def test_without_any_tools_a_call_is_answered_all_the_same(tmp_path: Path) -> None:
    wanted = tuple(ToolCall(id=name or "c", name=name, arguments="{}") for name in ("send_invoice", ""))
    llm = ScriptedLLM([AssistantMessage(tool_calls=wanted), "sorry"])
    async with open_loop(tmp_path, llm) as loop:
        assert (await loop.send("go")).final_text == "sorry"
    assert shown(llm.requests[1])[2:] == [
        "tool: Error: there is no tool named send_invoice. There are: none.",
        "tool: Error: there is no tool named unnamed. There are: none.",
    ]


@pytest.mark.acceptance("C5")
async def test_a_call_refused_after_a_crash_says_that_it_may_have_happened(tmp_path: Path) -> None:
    """Its tool takes other arguments by now, so it cannot run again; but it ran before."""
    await crashed(tmp_path, "s", "die")

    @tool(effect="idempotent")
    async def die(now_required: int) -> str:
        """Takes an argument that the old call lacks."""
        RUNS.append(now_required)
        return "no"

    llm = ScriptedLLM(["checked"])
    async with open_loop(tmp_path, llm, tools=[die], tool_drift="accept") as loop:
        (call,) = await loop.get_pending("s")
        await loop.resume("s", decisions={call.id: "retry"})
    assert RUNS == []
    assert "now_required: required, but missing" in shown(llm.requests[0])[2]
    assert shown(llm.requests[0])[2].endswith("may have happened fully, partly or not at all.")
