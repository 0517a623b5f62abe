"""Compactions that the host asks for, and takes back; what is pinned stays."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from llm_client.service import ChatRequest, Usage
from power_loop import ModelError, SessionBusyError, Status
from power_loop.compaction.strategies import KeepFirstAndLast
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.compaction.window import Folding, Window
from power_loop.errors import (
    CompactionError,
    CompactionNotFoundError,
    InputInvalidError,
    LoopClosedError,
    SessionArchivedError,
    SessionClosedError,
    SessionNotFoundError,
    WindowTooSmallError,
)
from tests.loop.kit import FOREVER, crashed, dump, history_is_valid, open_loop, shown

LONG = "a long story about nothing much, told twice. " * 10


class Model:
    """Answers, and sums up as told."""

    def __init__(self, summary: Any = "the story so far", usage: Usage | None = None) -> None:
        self.asked: list[ChatRequest] = []
        self.summaries = 0
        self._summary = summary
        self.llm = ScriptedLLM([self._said] * 99, usage=usage)

    def _said(self, request: ChatRequest) -> Any:
        if INSTRUCTIONS in request.messages[0]:
            self.summaries += 1
            return self._summary(request) if callable(self._summary) else self._summary
        self.asked.append(request)
        return f"answer {len(self.asked)} {LONG}"


async def filled(loop: Any, turns: int = 4, **more: Any) -> None:
    await loop.create_session("s", system_prompt="be good")
    for number in range(turns):
        await loop.send(f"input {number} {LONG}", "s", **more)


@pytest.mark.acceptance("E2", "E8")
async def test_a_session_is_folded_when_its_host_says_so_and_unfolded_again(tmp_path: Path) -> None:
    model = Model()
    async with open_loop(tmp_path, model.llm) as loop:
        await filled(loop)
        before = await loop.get_messages("s")
        done = await loop.compact("s")
        assert done is not None
        assert (done.strategy, done.number, done.undone_at) == ("summary", 1, None)
        assert done.after_tokens < done.before_tokens // 2 + 200
        shown_now = await loop.get_messages("s")
        assert [message.note for message in shown_now].count(True) == 1
        every = await loop.get_messages("s", include_compacted=True)
        assert sum(message.state == "compacted_out" for message in every) == done.folded
        assert await loop.get_compactions("s") == [done]
        assert [call.purpose for call in await loop.get_usage("s")][-1] == "summary"
        assert (await loop.get_session("s")).context_tokens == done.after_tokens

        undone = await loop.undo_compaction("s")
        assert undone.undone_at is not None
        assert await loop.get_messages("s") == before, "every row is back in its place"
        every = await loop.get_messages("s", include_compacted=True)
        assert [message.text for message in every if message.state == "compacted_out"] == [
            "[Note on the conversation before this point]\nthe story so far"
        ]
        with pytest.raises(CompactionNotFoundError):
            await loop.undo_compaction("s")
        result = await loop.send("go on", "s")
        assert result.status is Status.COMPLETED
        assert shown(model.asked[-1])[1] == f"user: input 0 {LONG}"
    async with open_loop(tmp_path) as fresh:
        assert [(c.number, c.undone_at is None) for c in await fresh.get_compactions("s")] == [(1, False)]
        assert await history_is_valid(fresh, "s")


@pytest.mark.acceptance("E2")
async def test_compactions_are_undone_the_latest_first(tmp_path: Path) -> None:
    model = Model()
    async with open_loop(tmp_path, model.llm) as loop:
        await filled(loop)
        first = await loop.get_messages("s")
        await loop.compact("s")
        await loop.send(f"more {LONG}", "s")
        await loop.send(f"and more {LONG}", "s")
        second = await loop.get_messages("s")
        await loop.compact("s", strategy="sliding_window") or await loop.compact("s")
        assert (await loop.undo_compaction("s")).number == 2
        assert await loop.get_messages("s") == second
        assert (await loop.undo_compaction("s")).number == 1
        now = await loop.get_messages("s")
        assert now[: len(first)] == first
        assert len(now) == len(first) + 4
        assert await history_is_valid(loop, "s")
        again = await loop.compact("s")
        assert again is not None
        assert again.number == 3


@pytest.mark.acceptance("E1", "E2")
async def test_after_an_undoing_nothing_is_folded_before_the_provider_has_counted(tmp_path: Path) -> None:
    model = Model(usage=Usage(prompt_tokens=900, completion_tokens=10))
    window = {"context_window": 1000, "compact_at": 0.95, "compact_to": 0.3}
    async with open_loop(tmp_path, model.llm, **window) as loop:
        await filled(loop, 3)
        await loop.compact("s")
        await loop.undo_compaction("s")
    asked, summaries = len(model.asked), model.summaries
    async with open_loop(tmp_path, model.llm, **window) as fresh:
        await fresh.send("next", "s")
        assert model.summaries == summaries
        assert len(model.asked) == asked + 1
        await fresh.send("and next, which is over the threshold", "s")
        assert model.summaries >= summaries


@pytest.mark.acceptance("E4")
@pytest.mark.parametrize(
    "strategy",
    ["keep_first_and_last", "least_recently_used", "sliding_window", "user_words", KeepFirstAndLast(first=2)],
)
async def test_what_needs_no_model_works_without_one(tmp_path: Path, strategy: Any) -> None:
    async with open_loop(tmp_path, Model().llm) as loop:
        await filled(loop, 6)
    async with open_loop(tmp_path) as offline:
        with pytest.raises(CompactionError, match="a model"):
            await offline.compact("s")
        done = await offline.compact("s", strategy=strategy)
        assert done is not None
        assert done.model is None
        assert await history_is_valid(offline, "s")
        assert (await offline.compact("s", strategy="none")) is None


@pytest.mark.acceptance("E6")
@pytest.mark.parametrize("how", ["raises", "empty", "hangs"])
async def test_one_that_fails_says_why_and_changes_nothing(tmp_path: Path, how: str) -> None:
    summary = {"raises": ModelError("no"), "empty": " ", "hangs": lambda _: asyncio.sleep(FOREVER, "late")}[how]
    model = Model(summary)
    async with open_loop(tmp_path, model.llm, summary_timeout=0.1) as loop:
        await filled(loop)
        before = dump(tmp_path)
        with pytest.raises(CompactionError) as caught:
            await loop.compact("s", strategy="summary")
        assert caught.value.reason
        after = dump(tmp_path)
        assert {name for name, rows in after.items() if rows != before[name]} <= {"sessions", "usage", "events"}
        assert (await loop.get_session("s")).failed_compactions == 1
        paid = [call.purpose for call in await loop.get_usage("s")].count("summary")
        assert paid == (how == "empty"), "what was answered is on the bill, of use or not"
        assert (await loop.send("on", "s")).status is Status.COMPLETED


@pytest.mark.acceptance("E2", "D1")
async def test_whoever_takes_the_session_meanwhile_goes_first(tmp_path: Path) -> None:
    """Nobody waits for a summary: the commit is refused, and history is as the other one left it."""
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(_: ChatRequest) -> str:
        asked.set()
        await go_on.wait()
        return "the story so far"

    model = Model(slow)
    async with open_loop(tmp_path, model.llm) as loop, open_loop(tmp_path, Model().llm) as other:
        await filled(loop)
        compacting = asyncio.create_task(loop.compact("s"))
        await asked.wait()
        assert (await other.send("meanwhile", "s")).status is Status.COMPLETED
        go_on.set()
        with pytest.raises(SessionBusyError):
            await compacting
        assert dump(tmp_path)["compactions"] == []
        assert await loop.compact("s") is not None


@pytest.mark.acceptance("D1")
async def test_it_waits_for_the_turn_that_runs_or_is_refused(tmp_path: Path) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: ChatRequest) -> str:
        if INSTRUCTIONS in request.messages[0]:
            return "the story so far"
        if "the slow one" in request.messages[-1]:
            asked.set()
            await go_on.wait()
        return f"answer {LONG}"

    async with open_loop(tmp_path, ScriptedLLM([slow] * 20)) as loop, open_loop(tmp_path, Model().llm) as other:
        await filled(loop)
        sending = asyncio.create_task(loop.send("the slow one", "s"))
        await asked.wait()
        for one in (loop, other):
            for refused in (one.compact("s", if_busy="raise"), one.undo_compaction("s", if_busy="raise")):
                with pytest.raises(SessionBusyError):
                    await refused
        waiting = asyncio.create_task(loop.compact("s"))
        elsewhere = asyncio.create_task(other.undo_compaction("s"))
        go_on.set()
        assert (await sending).status is Status.COMPLETED
        done, undone = await asyncio.gather(waiting, elsewhere, return_exceptions=True)
        assert not isinstance(done, BaseException) or isinstance(done, SessionBusyError)
        assert not isinstance(undone, BaseException) or isinstance(undone, CompactionNotFoundError | SessionBusyError)
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("L6")
async def test_a_loop_that_closes_stops_it(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(_: ChatRequest) -> str:
        asked.set()
        await asyncio.sleep(FOREVER)
        return ""

    loop = open_loop(tmp_path, Model(hang).llm)
    await filled(loop)
    compacting = asyncio.create_task(loop.compact("s"))
    await asked.wait()
    async with asyncio.timeout(10):
        await loop.aclose()
    with pytest.raises((CompactionError, LoopClosedError)):
        await compacting
    assert dump(tmp_path)["compactions"] == []


@pytest.mark.acceptance("E8")
async def test_open_calls_and_their_message_stay(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "a", "a", "die")
    async with open_loop(tmp_path, Model().llm) as loop:
        pending = await loop.get_pending("s")
        assert pending
        with suppress(CompactionError):
            await loop.compact("s", strategy="keep_first_and_last")
        assert await loop.get_pending("s") == pending
        active = {message.seq for message in await loop.get_messages("s")}
        assert {call.key.seq for call in pending} <= active
        assert await loop.abort_pending("s")
        assert await history_is_valid(loop, "s")
        assert (await loop.send("on", "s")).status is Status.COMPLETED


@pytest.mark.acceptance("L7")
async def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Model().llm) as loop:
        await filled(loop)
        await loop.create_session("closed")
        await loop.close_session("closed")
        await loop.create_session("archived")
        await loop.archive_session("archived")
        before = dump(tmp_path)
        for bad in ("best", 7, object(), ["summary", "best"], KeepFirstAndLast):
            with pytest.raises(InputInvalidError, match="strategy"):
                await loop.compact("s", strategy=bad)  # type: ignore[arg-type]
        for session, error in (
            ("nobody", SessionNotFoundError), ("closed", SessionClosedError), ("archived", SessionArchivedError),
        ):  # fmt: skip
            with pytest.raises(error):
                await loop.compact(session)
            with pytest.raises(error):
                await loop.undo_compaction(session)
        with pytest.raises(InputInvalidError):
            await loop.compact("s", if_busy="steer")  # type: ignore[arg-type]
        with pytest.raises(CompactionNotFoundError):
            await loop.undo_compaction("s")
        assert dump(tmp_path) == before


class Greedy:
    """An app's own strategy that folds what it must not."""

    name = "greedy"

    async def fold(self, window: Window) -> Folding | None:
        return Folding(folded=[entry for unit in window.units for entry in unit.entries], note="all gone")


@pytest.mark.acceptance("E3", "E8")
async def test_a_strategy_of_the_apps_own_cannot_break_history(tmp_path: Path) -> None:
    async with open_loop(tmp_path, Model().llm) as loop:
        await filled(loop)
        before = dump(tmp_path)
        with pytest.raises(CompactionError, match="must stay"):
            await loop.compact("s", strategy=Greedy())
        assert dump(tmp_path)["messages"] == before["messages"]


@pytest.mark.acceptance("E8")
@pytest.mark.parametrize("way", ["send", "stream", "steer", "wait"])
async def test_what_is_pinned_is_never_folded(tmp_path: Path, way: str) -> None:
    model = Model()
    pinned = f"never forget this {LONG}"
    async with open_loop(tmp_path, model.llm) as loop:
        await loop.create_session("s")
        if way == "send":
            await loop.send(pinned, "s", pin=True)
        elif way == "stream":
            assert [event async for event in loop.stream(pinned, "s", pin=True)]
        else:
            first = asyncio.create_task(loop.send("first", "s"))
            second = asyncio.create_task(loop.send(pinned, "s", pin=True, if_busy=way))  # type: ignore[arg-type]
            await asyncio.gather(first, second)
        for number in range(4):
            await loop.send(f"input {number} {LONG}", "s")
        for strategy in ("summary", "keep_first_and_last", "sliding_window"):
            await loop.compact("s", strategy=strategy)
            stored = [message for message in await loop.get_messages("s") if message.pinned]
            assert [message.text for message in stored] == [pinned]
    async with open_loop(tmp_path, model.llm) as fresh:
        await fresh.send("still?", "s")
        assert f"user: {pinned}" in shown(model.asked[-1])


@pytest.mark.acceptance("E8", "L7")
async def test_what_would_fill_the_window_for_ever_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    huge = LONG * 20
    async with open_loop(tmp_path, Model().llm, context_window=1000) as loop:
        await loop.create_session("s")
        before = dump(tmp_path)
        for refused in (
            loop.send(huge, "s", pin=True), loop.send(huge, pin=True), loop.create_session(system_prompt=huge),
        ):  # fmt: skip
            with pytest.raises(WindowTooSmallError) as caught:
                await refused
            assert caught.value.over == caught.value.needed - 1000 > 0
        assert dump(tmp_path) == before
    async with open_loop(tmp_path, Model().llm) as wide:
        await wide.send(huge, "s", pin=True)
    model = Model()
    async with open_loop(tmp_path, model.llm, context_window=1000) as loop:
        with pytest.raises(WindowTooSmallError):
            await loop.send("next", "s")
        assert model.asked == [], "nobody is asked what cannot be taken"
        assert (await loop.get_turns("s"))[-1].error_code == "context.window_too_small"
