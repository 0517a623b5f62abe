"""Results read again by their handle: exactly, by the model and the host, within the tree of a session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client import ScriptedLLM
from llm_client.scripted import calls
from power_loop import (
    InputInvalidError,
    PowerLoopError,
    SessionNotFoundError,
    StatefulAgentLoop,
    ToolContext,
    World,
    tool,
)
from power_loop.compaction.strategies import ClearToolResults
from power_loop.errors import OutputNotFoundError
from power_loop.tools import recall_tool
from power_loop.transcript.recall import shown_in_short
from tests.loop.kit import dump, open_loop
from tests.loop.large import LIMIT, giving, looked, offered, results

pytestmark = pytest.mark.acceptance("E7")


def test_the_tool_describes_itself() -> None:
    async def read(session: str, handle: str, offset: int, limit: int) -> str:
        return f"{session} {handle} {offset} {limit}"

    made = recall_tool(read, 64_000)
    assert (made.name, made.effect, made.parallel) == ("recall_output", "read", True)
    assert "64,000" in made.description
    assert set(made.parameters["properties"]) == {"handle", "offset", "limit"}
    assert made.parameters["required"] == ["handle"]
    assert all(one["description"] for one in made.parameters["properties"].values())
    assert recall_tool(read, 1).schema_hash == made.schema_hash  # a call may be older than the configuration
    context = ToolContext(session_id="s", call_id="c", idempotency_key="k")
    for arguments, told in (
        ('{"handle": "1.3"}', "s 1.3 0 64000"),
        ('{"handle": "1.3", "offset": 5, "limit": 7}', "s 1.3 5 7"),
        ('{"handle": "1.3", "limit": 70000}', "s 1.3 0 64000"),
        ('{"handle": "1.3", "limit": null}', "s 1.3 0 64000"),
    ):
        assert asyncio.run(made.call(made.arguments(arguments), context)) == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"handle": "1.3"}, "0123456789" * 50),
        ({"handle": "1.3", "limit": 100_000}, "0123456789" * 50),
        ({"handle": "1.3", "offset": 995}, "56789"),
        ({"handle": "1.3", "offset": 1_000}, ""),
        ({"handle": "1.3", "offset": 9, "limit": 2}, "90"),
        ({"handle": "1.4"}, "OutputNotFoundError"),
        ({"handle": "1.2"}, "OutputNotFoundError"),  # an answer, no result
        ({"handle": "2.3"}, "OutputNotFoundError"),
        ({"handle": "9.9"}, "OutputNotFoundError"),
        ({"handle": "the one above"}, "OutputNotFoundError"),
        ({"handle": ""}, "OutputNotFoundError"),
        ({"handle": "1.3", "offset": -1}, "not valid"),
        ({"handle": "1.3", "limit": -1}, "not valid"),
        ({"handle": "1.3", "offset": "some"}, "not valid"),
        ({}, "not valid"),
    ],
    ids=str,
)
async def test_e7_what_the_model_asks_for_is_what_it_gets(tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    script = [calls(("look", {})), "seen", calls(("recall_output", arguments)), "read"]
    async with open_loop(tmp_path, script, tools=[giving("0123456789" * 100)], result_limit=LIMIT) as loop:
        await looked(loop)
        await loop.create_session("stranger")
        await loop.send("read on", "s")
        said, call = (await loop.get_messages("s"))[-2], (await loop.get_calls("s"))[-1]
        failed = "Error" in told or "valid" in told
        assert call.state == ("failed" if failed else "succeeded")
        assert told in said.text if failed else said.text == told
        assert said.handle is None
        assert len(dump(tmp_path)["outputs"]) == 1


async def test_what_is_recalled_is_never_shortened_and_can_be_recalled_itself(tmp_path: Path) -> None:
    script = [calls(("look", {})), calls(("recall_output", {"handle": "1.3", "limit": LIMIT})), "read"]
    async with open_loop(tmp_path, script, tools=[giving("x" * 999)], result_limit=LIMIT) as loop:
        await loop.create_session("s")
        await loop.send("look", "s")
        assert (await loop.get_messages("s"))[4].text == "x" * LIMIT
        assert await loop.recall_output("s", "1.5") == "x" * LIMIT


async def test_an_apps_own_tool_of_that_name_is_the_one_that_is_called(tmp_path: Path) -> None:
    @tool(effect="read")
    def recall_output(page: int) -> str:
        """Reads a page."""
        return f"page {page}"

    llm = ScriptedLLM([calls(("look", {})), calls(("recall_output", {"page": 3})), "read"])
    tools = [giving("x" * 999), recall_output]
    async with open_loop(tmp_path, llm, tools=tools, result_limit=LIMIT) as loop:
        await loop.create_session("s")
        await loop.send("look", "s")
        assert [offered(request) for request in llm.requests] == [["look", "recall_output"]] * 3
        assert (await loop.get_messages("s"))[4].text == "page 3"
        short = (await loop.get_messages("s"))[2]
        assert "recall_output(" not in short.text
        assert short.handle == "1.3"
        assert await loop.recall_output("s", "1.3") == "x" * 999


async def test_a_recall_that_was_cut_off_runs_again_in_a_fresh_process_without_the_apps_tools(tmp_path: Path) -> None:
    script = [calls(("look", {})), "seen", calls(("recall_output", {"handle": "1.3", "offset": 990}))]
    asking = asyncio.Event()

    class CutError(Exception):
        pass

    def stopped(point: str) -> None:
        if point == "loop.call_returned" and asking.is_set():
            raise CutError

    world = World(reached=stopped)
    loop = StatefulAgentLoop(
        llm=ScriptedLLM(script), db_path=tmp_path / "agent.db", tools=[giving("x" * 999)], world=world,
        config=open_loop(tmp_path, result_limit=LIMIT).config,
    )  # fmt: skip
    await looked(loop)
    asking.set()
    with pytest.raises(CutError):
        await loop.send("read on", "s")
    await loop.aclose()
    for drift in ("report", "refuse"):
        async with open_loop(tmp_path, ["read"], result_limit=LIMIT, tool_drift=drift) as fresh:
            if drift == "report":
                [open_call] = await fresh.get_pending("s")
                assert (open_call.name, open_call.state, open_call.effect) == ("recall_output", "in_doubt", "read")
                continue
            assert (await fresh.resume("s")).final_text == "read"
            assert (await fresh.get_messages("s"))[-2].text == "x" * 9
            assert [(call.state, call.attempt) for call in await fresh.get_calls("s")][-1] == ("succeeded", 2)


async def test_e7_the_tree_of_a_session_reads_its_results_and_nobody_else(tmp_path: Path) -> None:
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving("x" * 999)], result_limit=LIMIT) as loop:
        await loop.create_session("top")
        for name, parent in (("s", "top"), ("sibling", "top"), ("child", "s"), ("grandchild", "child")):
            await loop.create_session(name, parent=parent)
        await loop.create_session("stranger")
        await loop.create_session("strangers child", parent="stranger")
        await loop.send("look", "s")
        for relative in ("s", "top", "sibling", "child", "grandchild"):
            assert await loop.recall_output(relative, "2.3") == "x" * 999, relative
        before = dump(tmp_path)
        for other in ("stranger", "strangers child"):
            with pytest.raises(OutputNotFoundError) as caught:
                await loop.recall_output(other, "2.3")
            with pytest.raises(OutputNotFoundError) as not_there:
                await loop.recall_output(other, "2.9")
            # Nothing tells a result of somebody else from one that is not there.
            assert str(caught.value).replace("2.3", "") == str(not_there.value).replace("2.9", "")
            assert caught.value.code == "output.not_found"
            assert (caught.value.session_id, caught.value.handle) == (other, "2.3")
        assert dump(tmp_path) == before


@pytest.mark.parametrize(
    ("session", "handle", "how", "error"),
    [
        ("s", "1.99", {}, OutputNotFoundError),
        ("s", "1.1", {}, OutputNotFoundError),
        ("s", "1.2", {}, OutputNotFoundError),
        ("s", "1", {}, OutputNotFoundError),
        ("s", "1.3.5", {}, OutputNotFoundError),
        ("s", " 1.3", {}, OutputNotFoundError),
        ("s", "1.3\n", {}, OutputNotFoundError),
        ("s", "01.3", {}, OutputNotFoundError),
        ("s", "\u0661.3", {}, OutputNotFoundError),
        ("s", "-1.3", {}, OutputNotFoundError),
        ("s", "9" * 30 + ".3", {}, OutputNotFoundError),
        ("s", "1." + "9" * 30, {}, OutputNotFoundError),
        ("s", "gone.3", {}, OutputNotFoundError),
        ("s", "2.3", {}, OutputNotFoundError),  # of a session that was deleted
        ("nobody", "1.3", {}, SessionNotFoundError),
        ("s", "", {}, InputInvalidError),
        ("s", "\ud800", {}, InputInvalidError),
        ("s", 1.3, {}, InputInvalidError),
        ("s", None, {}, InputInvalidError),
        ("s", "1.3", {"offset": -1}, InputInvalidError),
        ("s", "1.3", {"offset": 1.0}, InputInvalidError),
        ("s", "1.3", {"offset": True}, InputInvalidError),
        ("s", "1.3", {"offset": None}, InputInvalidError),
        ("s", "1.3", {"limit": -1}, InputInvalidError),
        ("s", "1.3", {"limit": "all"}, InputInvalidError),
        ("s", "1.3", {"limit": False}, InputInvalidError),
        (7, "1.3", {}, InputInvalidError),
    ],
)
async def test_e7_what_cannot_be_recalled_is_a_typed_error_and_changes_nothing(
    tmp_path: Path, session: Any, handle: Any, how: dict[str, Any], error: type[PowerLoopError]
) -> None:
    script = [calls(("look", {})), "x", calls(("look", {})), "x"]
    async with open_loop(tmp_path, script, tools=[giving("x" * 999)], result_limit=LIMIT) as loop:
        await looked(loop)
        await looked(loop, "gone")
        await loop.delete_session("gone")
        before = dump(tmp_path)
        with pytest.raises(error) as caught:
            await loop.recall_output(session, handle, **how)
        assert type(caught.value) is error
        assert dump(tmp_path) == before


async def test_closed_and_archived_sessions_are_read_for_ever(tmp_path: Path) -> None:
    script = [calls(("look", {})), "x", calls(("look", {})), "x"]
    async with open_loop(tmp_path, script, tools=[giving("x" * 999)], result_limit=LIMIT) as loop:
        await looked(loop)
        await loop.archive_session("s")
        await looked(loop, "t")
        await loop.close_session("t")
        assert await loop.recall_output("s", "1.3") == await loop.recall_output("t", "2.3") == "x" * 999


async def test_e7_a_result_that_was_folded_is_recalled_exactly(tmp_path: Path) -> None:
    """One that was shown in short, and one that was not, whose text is nowhere but in its message."""
    large, small = "0123456789" * 100, "\u00e9" * 450

    @tool(effect="read")
    def peek() -> str:
        """Peeks."""
        return small

    read_again = calls(("recall_output", {"handle": "1.7"}), ("recall_output", {"handle": "1.3", "limit": 5}))
    llm = ScriptedLLM([calls(("look", {})), "x", calls(("peek", {})), "y", read_again, "z"])
    async with open_loop(tmp_path, llm, tools=[giving(large), peek], result_limit=LIMIT) as loop:
        await looked(loop)
        await loop.send("peek", "s")
        assert await loop.compact("s", strategy=ClearToolResults(keep=0, over=1)) is not None
        assert [message.text for message in await loop.get_messages("s") if message.role == "tool"] == [
            f'[This result was cleared to save room; recall_output(handle="{handle}") reads it again.]'
            for handle in ("1.3", "1.7")
        ]
        await loop.send("read on", "s")
        assert offered(llm.requests[-1]) == ["look", "peek", "recall_output"]
        assert results(llm.requests[-1])[-2:] == [small, large[:5]]
        assert await loop.compact("s", strategy="keep_first_and_last") is not None
        for handle, whole in (("1.3", large), ("1.7", small)):
            assert await loop.recall_output("s", handle) == whole


async def test_a_result_that_says_it_is_shown_in_short_is_kept_whole_so_that_it_is_true(tmp_path: Path) -> None:
    """Else it would be taken for one whose whole text was lost."""
    forged = shown_in_short("half", 1_000, "1.3", recalled=True)
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving(forged)]) as loop:
        assert (await looked(loop)).startswith(f"{forged}\n[Result 1.3 is shown in short: {len(forged)} characters")
        assert await loop.recall_output("s", "1.3") == forged


async def test_the_newest_results_are_not_cleared_where_there_are_fewer_than_are_kept(tmp_path: Path) -> None:
    script = [calls(("look", {})), "x", calls(("look", {})), "y"]
    async with open_loop(tmp_path, script, tools=[giving("x" * 400)], result_limit=LIMIT) as loop:
        await looked(loop)
        await loop.send("look", "s")
        assert await loop.compact("s", strategy=ClearToolResults(keep=3, over=1)) is None


async def test_a_name_that_no_api_takes_never_becomes_the_tools(tmp_path: Path) -> None:
    script = [calls(("look", {})), calls(("recall output", {"handle": "1.3"})), "read"]
    async with open_loop(tmp_path, script, tools=[giving("x" * 999)], result_limit=LIMIT) as loop:
        await loop.create_session("s")
        await loop.send("look", "s")
        [_, call] = await loop.get_calls("s")
        assert (call.name, call.state, call.attempt) == ("_recall_output", "failed", 0)
