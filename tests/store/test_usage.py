"""One usage row a model call; what the endpoint did not report stays unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import Usage
from power_loop import StatefulAgentLoop, tool
from tests.store.kit import a_loop

pytestmark = pytest.mark.acceptance("A5")


@tool(effect="read")
def look() -> str:
    """Looks."""
    return "seen"


async def test_a5_four_sends_of_two_rounds_give_eight_rows_that_add_up(tmp_path: Path) -> None:
    given: list[Usage] = []

    def bill(*_: object) -> Usage:
        n = len(given) + 1
        given.append(Usage(prompt_tokens=100 * n, completion_tokens=10 * n, cached_tokens=n, reasoning_tokens=2 * n))
        return given[-1]

    path = tmp_path / "agent.db"
    llm = ScriptedLLM([calls(("look", {})), "done"] * 4, usage=bill)
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look]) as loop:
        await loop.create_session("s")
        results = [await loop.send(f"turn {number}", "s") for number in range(1, 5)]
    async with StatefulAgentLoop(db_path=path) as loop:
        usage = await loop.get_usage("s")
        assert len(usage) == len(given) == 8
        rows = [
            Usage(
                prompt_tokens=row.prompt_tokens or 0,
                completion_tokens=row.completion_tokens or 0,
                cached_tokens=row.cached_tokens or 0,
                reasoning_tokens=row.reasoning_tokens or 0,
            )
            for row in usage
        ]
        assert rows == given
        assert [row.turn for row in usage] == [1, 1, 2, 2, 3, 3, 4, 4]
        assert {row.purpose for row in usage} == {"answer"}
        assert usage.total == Usage(prompt_tokens=3600, completion_tokens=360, cached_tokens=36, reasoning_tokens=72)
        assert usage.by_turn == {result.turn: result.usage for result in results}
        assert (await loop.get_usage("s", turn=3)).total == results[2].usage
        assert usage.cost is None
        assert {row.cost for row in usage} == {None}


async def test_a5_what_was_not_reported_is_unknown_and_not_zero(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with StatefulAgentLoop(llm=ScriptedLLM(["hi"], usage=None), db_path=path) as loop:
        await loop.create_session("s")
        await loop.send("hello", "s")
        [row] = await loop.get_usage("s")
        assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.reasoning_tokens) == (None,) * 4


async def test_a5_a_dropped_answer_is_paid_for_too(tmp_path: Path) -> None:
    async with a_loop(tmp_path / "agent.db", ["", "hi"]) as loop:
        await loop.create_session("s")
        await loop.send("hello", "s")
        assert [row.purpose for row in await loop.get_usage("s")] == ["dropped", "answer"]
