"""What a loop keeps of a session between turns is never older than the file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop
from power_loop.engine.facts import Fact


def said(llm: ScriptedLLM) -> list[str]:
    """The texts of the last request."""
    return [json.loads(message)["content"] for message in llm.requests[-1].messages]


@pytest.mark.acceptance("D1")
async def test_another_loops_turns_are_seen(tmp_path: Path) -> None:
    ours, theirs = ScriptedLLM(["a", "c"]), ScriptedLLM(["b"])
    async with (
        StatefulAgentLoop(llm=ours, db_path=tmp_path / "a.db") as here,
        StatefulAgentLoop(llm=theirs, db_path=tmp_path / "a.db") as there,
    ):
        await here.create_session("s")
        await here.send("one", "s")
        await there.send("two", "s")
        await here.send("three", "s")
    assert said(ours) == ["one", "a", "two", "b", "three"]


@pytest.mark.acceptance("A4")
async def test_a_session_deleted_and_made_again_elsewhere_has_no_memory_of_its_former_self(tmp_path: Path) -> None:
    ours, theirs = ScriptedLLM(["a", "d"]), ScriptedLLM(["b"])
    async with (
        StatefulAgentLoop(llm=ours, db_path=tmp_path / "a.db") as here,
        StatefulAgentLoop(llm=theirs, db_path=tmp_path / "a.db") as there,
    ):
        await here.create_session("s")
        await here.send("secret", "s")
        await there.delete_session("s")
        await there.create_session("s")
        await there.send("new", "s")
        await here.send("next", "s")
    assert said(ours) == ["new", "b", "next"]


class Broken:
    """A sink of the app's that fails."""

    def __init__(self) -> None:
        self.asked = 0

    async def record(self, facts: Sequence[Fact]) -> None:
        self.asked += 1
        raise OSError("no space for this listener")

    async def aclose(self) -> None:
        return None


@pytest.mark.acceptance("G3")
async def test_a_sink_that_failed_once_hears_no_more_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Broken()
    async with StatefulAgentLoop(llm=ScriptedLLM(["a", "b"]), db_path=tmp_path / "a.db", sinks=[sink]) as loop:
        with caplog.at_level(logging.ERROR, "power_loop.sink"):
            first = await loop.send("one")
            second = await loop.send("two", first.session_id)
    assert (first.final_text, second.final_text, sink.asked) == ("a", "b", 1)
    assert len(caplog.records) == 1
