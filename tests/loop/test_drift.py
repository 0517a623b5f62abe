"""Between a crash and the resume the tools change: a stated result or a typed error, never another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionState, Tool, ToolChangedError, tool
from tests.loop.kit import crashed, dump, history_is_valid, open_loop, shown, valid

pytestmark = pytest.mark.acceptance("B10")

RUNS: list[str] = []


def named(name: str, effect: Any = "once", **more: Any) -> Tool:
    @tool(name=name, effect=effect, **more)
    async def run() -> str:
        """Runs."""
        RUNS.append(name)
        return f"{name} done"

    return run


def other(name: str, effect: Any = "once") -> Tool:
    """A tool of that name that takes something else."""

    @tool(name=name, effect=effect)
    async def run(amount: int = 3) -> str:
        """Runs, with an amount."""
        RUNS.append(f"other {name}")
        return f"{amount} done"

    return run


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """`first` is done, `die` is in doubt, `later` never ran."""
    RUNS.clear()
    await crashed(tmp_path, "s", "first", "die", "later")
    return tmp_path


async def results(folder: Path, tools: list[Tool], **settings: Any) -> list[str]:
    llm = ScriptedLLM(["went on"])
    async with open_loop(folder, llm, tools=tools, **settings) as loop:
        assert (await loop.resume("s")).final_text == "went on"
        assert valid(*llm.requests)
        assert await history_is_valid(loop, "s")
        assert (await loop.get_session("s")).state is SessionState.IDLE
    return shown(llm.requests[0])[-3:]


async def test_a_tool_that_is_gone_is_said_to_be(folder: Path) -> None:
    first, die, later = await results(folder, [named("first")])
    assert first == "tool: first done"
    assert "outcome unknown" in die
    assert later == "tool: Error: there is no tool named later. There are: first."
    assert RUNS == []


async def test_a_tool_under_another_name_is_another_tool(folder: Path) -> None:
    *_, later = await results(folder, [named("first"), named("die"), named("later_on")])
    assert "there is no tool named later." in later
    assert RUNS == []


@pytest.mark.parametrize("effect", ["once", "idempotent", "read"])
async def test_a_tool_that_takes_other_arguments_is_not_run_with_the_old_ones(folder: Path, effect: str) -> None:
    _, die, later = await results(folder, [named("first"), other("die", effect), other("later", effect)])
    assert "outcome unknown" in die
    assert "takes other arguments by now" in later
    assert RUNS == []


async def test_a_person_who_says_retry_does_not_make_another_tool_run(folder: Path) -> None:
    llm = ScriptedLLM(["went on"])
    async with open_loop(folder, llm, tools=[other("die"), other("later")]) as loop:
        [die, _] = await loop.get_pending("s")
        await loop.resume("s", decisions={die.id: "retry"})
    assert "outcome unknown" in shown(llm.requests[0])[-2]
    assert RUNS == []


async def test_a_changed_tool_is_not_asked_what_became_of_the_old_call(folder: Path) -> None:
    def asked(*_: object) -> Any:
        RUNS.append("reconcile of another tool")  # what it raised would only count as no answer

    @tool(name="die", reconcile=asked)
    async def die(amount: int = 3) -> str:
        """Takes something else by now."""
        return "no"

    _, told, _ = await results(folder, [die, named("later")])
    assert "outcome unknown" in told
    assert RUNS == ["later"]


async def test_accept_runs_what_still_passes(folder: Path) -> None:
    _, die, later = await results(folder, [other("die", "read"), other("later")], tool_drift="accept")
    assert "outcome unknown" in die, "it was recorded as once"
    assert later == "tool: 3 done"
    assert RUNS == ["other later"]


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([named("die")], "later of call call_2 is not registered"),
        ([named("die"), other("later")], "later of call call_2 takes other arguments than it did"),
        ([named("later"), other("die")], "die of call call_1 takes other arguments than it did"),
    ],
)
async def test_refuse_raises_before_anything_is_written(folder: Path, tools: list[Tool], words: str) -> None:
    before = dump(folder)
    async with open_loop(folder, ["never"], tools=tools, tool_drift="refuse") as loop:
        for going_on in (
            loop.resume("s"),
            loop.send("x", "s", on_pending="resume"),
            loop.send("x", "s", request_id="r"),
        ):
            with pytest.raises(ToolChangedError, match=words) as caught:
                await going_on
            assert caught.value.code == "tool.changed"
        [entry] = await loop.recover("resume")
        assert isinstance(entry.error, ToolChangedError)
    assert dump(folder) == before
    assert RUNS == []
    async with open_loop(folder, ["went on"], tools=[named("die"), named("later")], tool_drift="refuse") as loop:
        assert (await loop.resume("s")).final_text == "went on"
    assert RUNS == ["later"]


async def test_a_call_that_was_given_up_needs_no_tool(folder: Path) -> None:
    async with open_loop(folder, ["went on"], tools=[named("die")], tool_drift="refuse") as loop:
        [_, later] = await loop.get_pending("s")
        assert (await loop.resume("s", decisions={later.id: "abort"})).final_text == "went on"


async def test_a_tool_that_became_once_is_not_run_again(tmp_path: Path) -> None:
    """It was `once` when it was called, or is by now: the more careful of the two counts."""
    RUNS.clear()
    await crashed(tmp_path, "s", "die")
    _, die = (await results(tmp_path, [named("die", "read")]))[-2:]
    assert "outcome unknown" in die
    assert RUNS == []
