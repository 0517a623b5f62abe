"""`compact`: folds with a model or without, takes back, shows; what fails changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from power_loop import ScriptedLLM, StatefulAgentLoop
from power_loop.testing import ScriptedServer
from tests.cli.kit import Ran, rows, run

LONG = "a long story about nothing much, told twice. " * 10


@pytest.fixture
def db(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with StatefulAgentLoop(llm=ScriptedLLM([f"answer {LONG}"] * 6), db_path=tmp_path / "agent.db") as loop:
            await loop.create_session("s", system_prompt="be good")
            for number in range(6):
                await loop.send(f"input {number} {LONG}", "s")

    asyncio.run(fill())
    return tmp_path / "agent.db"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda asked: "" if "input 0" not in str(asked.messages) else "what was said") as server:
        yield server


def compact(db: Path, *arguments: str, server: ScriptedServer | None = None) -> Ran:
    model = {} if server is None else {
        "POWER_LOOP_API_KEY": "any", "POWER_LOOP_MODEL": "scripted", "POWER_LOOP_BASE_URL": server.url,
    }  # fmt: skip
    return run("compact", "s", *arguments, "--db", str(db), cwd=db.parent, **model)


def shown(db: Path, *arguments: str) -> Any:
    return run("show", "s", *arguments, "--json", "--db", str(db), cwd=db.parent).json


@pytest.mark.acceptance("L5", "E2")
def test_the_model_sums_up_and_it_can_be_taken_back(db: Path, server: ScriptedServer) -> None:
    before = shown(db)["messages"]
    done = compact(db, "--json", server=server)
    assert (done.code, done.err) == (0, "")
    assert done.json["compaction"]["strategy"] == "summary"
    assert "what was said" in str(shown(db)["messages"])
    text = run("show", "s", "--compacted", "--db", str(db), cwd=db.parent).out
    assert "(folded by compaction 1)" in text
    assert "STRATEGY" in text
    assert "% left" in text
    assert "is undone" in compact(db, "--undo").out
    assert shown(db)["messages"] == before
    again = compact(db, "--undo")
    assert (again.code, "nothing to undo" in again.err) == (3, True)


@pytest.mark.acceptance("L5", "E4")
def test_without_a_model_strategies_are_named(db: Path) -> None:
    done = compact(db, "--strategy", "clear_tool_results", "--strategy", "keep_first_and_last")
    assert (done.code, done.err) == (0, "")
    assert "folded by keep_first_and_last" in done.out
    assert [one["strategy"] for one in shown(db)["compactions"]] == ["keep_first_and_last"]
    before = rows(db)
    looked = compact(db, "--dry-run")
    assert "keep_first_and_last" in looked.out
    assert compact(db, "--dry-run", "--json").json["compactions"][0]["number"] == 1
    assert "nothing to fold" in compact(db, "--strategy", "none").out
    assert rows(db) == before


@pytest.mark.acceptance("L5", "E6")
def test_what_cannot_be_changes_nothing(db: Path) -> None:
    told = shown(db)["messages"]
    with ScriptedServer(lambda _: "") as mute:
        empty = compact(db, server=mute)
    assert (empty.code, "[compaction.failed]" in empty.err) == (7, True)
    assert shown(db)["messages"] == told
    assert "1 compaction failed" in run("show", "s", "--db", str(db), cwd=db.parent).out
    before = rows(db)
    missing = compact(db)
    assert (missing.code, "no model" in missing.err) == (7, True)
    assert compact(db, "--strategy", "best").code == 2
    assert compact(db, "--undo", "--strategy", "summary").code == 2
    assert run("compact", "nobody", "--strategy", "user_words", "--db", str(db), cwd=db.parent).code == 3
    assert rows(db) == before
