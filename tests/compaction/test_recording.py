"""What becomes of a folding: which ladder is asked when, and what a store that has it refuses or takes back."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from llm_client.service import ChatRequest
from power_loop import AgentLoopConfig, ModelError, SessionBusyError
from power_loop.compaction.ladder import climb
from power_loop.compaction.strategies import KeepFirstAndLast, dropped
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.compaction.window import Folding, Window
from power_loop.engine.limits import Limits
from power_loop.errors import StoreDamagedError
from power_loop.loop.fold import make_room
from tests.compaction.bad import Bad, results
from tests.compaction.growth import conversation
from tests.compaction.kit import Summariser, run
from tests.loop.kit import dump, open_loop

LONG = "a long story about nothing much, told twice. " * 10


@pytest.mark.acceptance("E6")
@pytest.mark.parametrize(
    ("full", "fails", "length", "strategy"),
    [
        (False, True, 100, None),
        (True, True, 100, "keep_first_and_last"),
        (True, False, 100, "summary"),
        (True, False, 5000, "keep_first_and_last"),
        (False, False, 5000, "summary"),
    ],
    ids=["not full", "full", "full, and the summary helps", "full, and the summary is long", "a long summary"],
)
def test_what_needs_no_model_steps_in_only_where_the_window_is_full(
    full: bool, fails: bool, length: int, strategy: str | None
) -> None:
    history = conversation([1] * 30)
    size = history.window(0).tokens
    config = AgentLoopConfig(context_window=size // 3)
    window = history.window(config.fold_to, summarise=Summariser(length, fails=fails))
    tried = run(make_room(window, config, Limits.of(config), full=full))
    assert (None if tried.compaction is None else tried.compaction.strategy) == strategy
    assert [name for name, _ in tried.failures] == (["summary"] if fails else [])


def test_no_result_is_cleared_beside_an_open_call_whoever_asks() -> None:
    history = conversation([1])
    asked = history.add("assistant", "", calls=[{}, {}])
    history.add("tool", "r" * 900, of=f"{asked}.0")
    history.add("user", "next")
    bad = Bad("bad", lambda window: Folding(folded=results(window)[-1:], results={asked + 1: "r"}))
    tried = run(climb([bad], history.window(1, open={asked})))
    assert tried.compaction is None
    assert "still open" in tried.failures[0][1]
    assert run(climb([bad], history.window(1))).compaction is not None


class Model:
    """Answers; a summary waits until it may go on."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.llm = ScriptedLLM([self._said] * 50)

    async def _said(self, request: ChatRequest) -> Any:
        if INSTRUCTIONS not in request.messages[0]:
            return f"answer {LONG}"
        self.asked.set()
        await self.go_on.wait()
        return "the story so far"


async def filled(loop: Any) -> None:
    await loop.create_session("s", system_prompt="be good")
    for number in range(5):
        await loop.send(f"input {number} {LONG}", "s")


@pytest.mark.acceptance("E2", "D1")
async def test_of_two_compactions_at_once_the_second_changes_nothing(tmp_path: Path) -> None:
    """Neither claims the session, but the one that is first outdates what the other has read."""
    model = Model()
    async with open_loop(tmp_path, model.llm) as loop, open_loop(tmp_path) as other:
        await filled(loop)
        compacting = asyncio.create_task(loop.compact("s"))
        await model.asked.wait()
        assert await other.compact("s", strategy=KeepFirstAndLast(first=3)) is not None
        before = dump(tmp_path)
        model.go_on.set()
        with pytest.raises(SessionBusyError):
            await compacting
        assert dump(tmp_path) == before


@pytest.mark.acceptance("E2")
async def test_an_undoing_that_does_not_find_all_rows_undoes_nothing(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Model().llm) as loop:
        await filled(loop)
        done = await loop.compact("s", strategy="keep_first_and_last")
        assert done is not None
        with closing(sqlite3.connect(tmp_path / "agent.db")) as db, db:
            folded = db.execute("SELECT max(seq) FROM messages WHERE folded_by = 1 AND note_of IS NULL").fetchone()[0]
            db.execute("UPDATE messages SET folded_by = NULL, state = 'active' WHERE seq = ?", (folded,))
        before = dump(tmp_path)
        with pytest.raises(StoreDamagedError):
            await loop.undo_compaction("s")
        assert dump(tmp_path) == before


@pytest.mark.acceptance("E2", "E4")
async def test_every_strategy_is_undone_exactly_one_after_the_other(tmp_path: Path) -> None:
    model = Model()
    model.go_on.set()
    async with open_loop(tmp_path, model.llm) as loop:
        await filled(loop)
        states = []
        for strategy in ("least_recently_used", "user_words", "summary", KeepFirstAndLast(first=0)):
            for number in range(3):
                await loop.send(f"more {number} {LONG}", "s")
            states.append(await loop.get_messages("s"))
            assert await loop.compact("s", strategy=strategy) is not None
        while states:
            await loop.undo_compaction("s")
            was = states.pop()
            assert (await loop.get_messages("s"))[: len(was)] == was


@pytest.mark.acceptance("E2", "D1")
async def test_a_claim_that_left_no_message_counts_as_one_too(tmp_path: Path) -> None:
    """A resume that failed: the numbers are as they were, the session is not."""
    model, broken = Model(), ScriptedLLM([ModelError("down")] * 9)
    async with open_loop(tmp_path, model.llm) as loop, open_loop(tmp_path, broken) as other:
        await filled(loop)
        with pytest.raises(ModelError):
            await other.send(f"next {LONG}", "s")
        compacting = asyncio.create_task(loop.compact("s"))
        await model.asked.wait()
        with pytest.raises(ModelError):
            await other.resume("s")
        before = dump(tmp_path)
        model.go_on.set()
        with pytest.raises(SessionBusyError):
            await compacting
        assert dump(tmp_path) == before


class ALittle:
    """Folds the two oldest units, however far the target is."""

    name = "a little"

    async def fold(self, window: Window) -> Folding | None:
        oldest = [unit for unit in window.foldable if not unit.note][:2]
        return dropped(window, oldest) if oldest else None


@pytest.mark.acceptance("E1")
async def test_a_fresh_process_waits_for_a_count_too(tmp_path: Path) -> None:
    """A compaction that left the window nearly full, and a process that died before the model had answered."""
    settings: dict[str, Any] = {"context_window": 4000, "compact_at": 0.1, "compaction": ALittle(), "when_full": ()}
    async with open_loop(tmp_path, Model().llm) as loop:
        await filled(loop)
    async with open_loop(tmp_path, ScriptedLLM([ModelError("down")] * 9), **settings) as loop:
        with pytest.raises(ModelError):
            await loop.send(f"next {LONG}", "s")
        assert len(await loop.get_compactions("s")) == 1
    async with open_loop(tmp_path, ScriptedLLM([ModelError("down")] * 9), **settings) as fresh:
        with pytest.raises(ModelError):
            await fresh.resume("s")
        assert len(await fresh.get_compactions("s")) == 1
    async with open_loop(tmp_path, Model().llm, **settings) as fresh:
        await fresh.resume("s")
        await fresh.send("on", "s")
        assert len(await fresh.get_compactions("s")) == 2, "it has been counted"
