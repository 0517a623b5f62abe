"""C8: an answer of the app's own shape, and a tool that ends the turn."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from llm_client.scripted import calls, says
from power_loop import CallState, InputInvalidError, OutputInvalidError, SessionState, Status, tool
from power_loop.compaction.strategies import SlidingWindow
from power_loop.testing import ScriptedServer
from power_loop.tools import complete_tool
from tests.governance.kit import a_loop, die, in_a_child, look, pay, said
from tests.loop.kit import history_is_valid, open_loop, service, valid

pytestmark = pytest.mark.acceptance("C8")


class City(BaseModel):
    """A place."""

    name: str
    people: int = Field(ge=0)


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


GOOD = '{"name": "Ulm", "people": 126000}'


async def test_the_shape_is_asked_for_checked_and_given_back(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [calls(("look", {})), says(GOOD)]) as loop:
        result = await loop.send("where?", output=City)
        assert result.output == City(name="Ulm", people=126000)
        assert (result.status, result.final_text, result.rounds) == (Status.COMPLETED, GOOD, 2)
        formats = [json.loads(request.response_format) for request in loop._llm.requests]
        assert [one["json_schema"]["name"] for one in formats] == ["City", "City"]
        assert formats[0]["json_schema"]["schema"]["required"] == ["name", "people"]


@pytest.mark.parametrize(
    ("output", "text", "value"),
    [
        (City, f"```json\n{GOOD}\n```", City(name="Ulm", people=126000)),
        (Point, '{"x": 3}', Point(3)),
        (Named, '{"name": "\\u2603"}', {"name": "\N{SNOWMAN}"}),
    ],
)
async def test_models_dataclasses_and_typed_dicts(tmp_path: Path, output: Any, text: str, value: Any) -> None:
    async with a_loop(tmp_path, [says(text)]) as loop:
        assert (await loop.send("?", output=output)).output == value


async def test_what_does_not_fit_is_asked_for_once_more_with_what_is_wrong(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [says('{"name": "Ulm", "people": -1}'), says(GOOD)]) as loop:
        result = await loop.send("where?", output=City)
        assert (result.output, result.rounds) == (City(name="Ulm", people=126000), 2)
        note = (await said(loop, result.session_id))[2]
        assert note.startswith("user: This is not the output asked for:\n- people: ")
        assert valid(*loop._llm.requests)
        usage = await loop.get_usage(result.session_id)
        assert [row.purpose for row in usage] == ["answer", "answer"]


async def test_a_second_one_fails_the_turn_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [says("no"), says("never"), says(GOOD)]) as loop:
        await loop.create_session("s")
        with pytest.raises(OutputInvalidError, match="what is not the output asked for"):
            await loop.send("where?", "s", output=City)
        assert "assistant: never" not in await said(loop, "s")
        assert (await loop.get_session("s")).state is SessionState.FAILED
        assert [row.purpose for row in await loop.get_usage("s")] == ["answer", "dropped"]
        assert (await loop.resume("s", output=City)).output == City(name="Ulm", people=126000)
        assert await history_is_valid(loop, "s")


async def test_the_same_request_gives_the_same_object(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [says(GOOD)]) as loop:
        first = await loop.send("where?", request_id="r", output=City)
    async with a_loop(tmp_path, []) as loop:
        again = await loop.send("where?", request_id="r", output=City)
        assert again.output == first.output == City(name="Ulm", people=126000)
        assert (await loop.send("where?", request_id="r")).output is None


async def test_a_resume_after_a_kill_wants_the_shape_again(tmp_path: Path) -> None:
    async def killed() -> None:
        async with a_loop(tmp_path, [calls(("look", {})), lambda request: die()]) as loop:
            await loop.create_session("s")
            await loop.send("where?", "s", output=City)

    assert in_a_child(killed) == signal.SIGKILL
    async with a_loop(tmp_path, [says("hm"), says(GOOD)]) as loop:
        assert (await loop.resume("s", output=City)).output == City(name="Ulm", people=126000)


async def test_at_the_limit_of_rounds_there_is_no_second_try(tmp_path: Path) -> None:
    async with a_loop(tmp_path, [calls(("look", {})), says(GOOD)], max_rounds=1) as loop:
        result = await loop.send("where?", output=City)
        assert (result.status, result.output) == (Status.HIT_ROUND_LIMIT, City(name="Ulm", people=126000))


@pytest.mark.parametrize("output", ["City", 3, int, list[int], object(), lambda: None])
async def test_what_is_no_shape_of_an_object_is_refused_before_anything_is_written(tmp_path: Path, output: Any) -> None:
    async with a_loop(tmp_path, []) as loop:
        with pytest.raises(InputInvalidError, match="output"):
            await loop.send("where?", output=output)
        assert await loop.list_sessions() == []


async def test_a_complete_tool_ends_the_turn_with_its_arguments(tmp_path: Path) -> None:
    script = [
        calls(("complete", {"name": "Ulm"})),
        calls(("complete", {"name": "Ulm", "people": 1}), ("look", {}), ("complete", {"name": "Bonn", "people": 2})),
        says("next"),
    ]
    async with a_loop(tmp_path, script, tools=[look, complete_tool(City)]) as loop:
        result = await loop.send("where?")
        assert (result.status, result.output) == (Status.COMPLETED, City(name="Ulm", people=1))
        assert (result.stop_reason, result.final_text) == ("complete was called", '{"name":"Ulm","people":1}')
        ledger = [(call.name, call.state) for call in await loop.get_calls(result.session_id)]
        assert ledger == [
            ("complete", CallState.FAILED),
            ("complete", CallState.SUCCEEDED),
            ("look", CallState.SUCCEEDED),
            ("complete", CallState.DENIED),
        ]
        [turn] = await loop.get_turns(result.session_id)
        assert (turn.state, turn.status, turn.rounds) == ("done", "completed", 2)
        assert await history_is_valid(loop, result.session_id)
        assert (await loop.send("more", result.session_id)).final_text == "next"
        assert valid(*loop._llm.requests)


async def test_a_turn_that_a_call_ended_is_found_again_by_its_request(tmp_path: Path) -> None:
    tools = [look, complete_tool(City)]
    async with a_loop(tmp_path, [calls(("complete", {"name": "Ulm", "people": 1}))], tools=tools) as loop:
        first = await loop.send("where?", request_id="r")
    async with a_loop(tmp_path, [], tools=tools) as loop:
        again = await loop.send("where?", request_id="r", output=City)
        assert (again.status, again.final_text, again.output) == ("completed", first.final_text, first.output)
        assert (await loop.resume(again.session_id)).stop_reason == "idle"


async def test_any_tool_may_end_a_turn(tmp_path: Path) -> None:
    @tool(ends_turn=True)
    def hand_in(grade: int) -> dict[str, int]:
        """Hands in."""
        return {"grade": grade}

    async with a_loop(tmp_path, [calls(("hand_in", {"grade": 1}), text="Here it is.")], tools=[hand_in]) as loop:
        result = await loop.send("go")
        assert (result.output, result.final_text) == ({"grade": 1}, "Here it is.")


async def test_what_a_turn_was_asked_can_be_folded_once_a_call_has_ended_it(tmp_path: Path) -> None:
    script = [calls(("complete", {"name": "Ulm", "people": n})) for n in range(4)]
    async with a_loop(tmp_path, script, tools=[complete_tool(City)]) as loop:
        await loop.create_session("s")
        for number in range(4):
            await loop.send(f"{number} {'word ' * 200}", "s")
        done = await loop.compact("s", strategy=SlidingWindow(turns=1))
        assert done is not None
        assert done.folded == 9, "the inputs of turns that ended stay no longer than any other"
        assert await history_is_valid(loop, "s")


async def test_outputs_over_a_real_endpoint(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([says("hm"), says(GOOD), calls(("complete", {"name": "Ulm", "people": 1})), says("bye")])
    async with open_loop(tmp_path, service(server), tools=[pay, complete_tool(City)]) as loop:
        first = await loop.send("where?", output=City)
        assert first.output == City(name="Ulm", people=126000)
        assert (await loop.send("and?", first.session_id)).output == City(name="Ulm", people=1)
        assert (await loop.send("bye", first.session_id)).final_text == "bye"
