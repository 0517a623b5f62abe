"""G2, G3: who follows hears each fact once, in order, with what is live in its place; and nobody is waited for."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import TextDelta
from power_loop import EventsLaggedError, SessionEvent, ToolContext, tool
from power_loop.compaction.strategies import SlidingWindow
from power_loop.engine import facts as f
from power_loop.events import Hub, ToolProgress
from power_loop.events.hub import ROOM
from power_loop.values import SessionId
from tests.events.kit import LONG, PATIENCE, all_events, facts_of, look, open_loop, taken, until, write

SCRIPT: list[Any] = [calls(("look", {"n": 1}), ("write", {}), text="let me see what there is"), "that is all there is"]
FACTS = 7
"""Of one such turn."""


def hub_of(loop: Any) -> Hub:
    hub: Hub = loop._opening.result().runner.gear.hub
    return hub


async def listening(loop: Any, readers: int) -> None:
    await until(lambda: len(hub_of(loop)) >= readers)


@pytest.mark.acceptance("G2")
async def test_who_follows_from_any_cursor_hears_each_fact_once_and_in_order(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT * 3, tools=[look, write]) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        before = asyncio.create_task(taken(loop.events(session), 3 * FACTS))
        await loop.send("one", session)
        between = [asyncio.create_task(taken(loop.events(session, after=n), 3 * FACTS)) for n in range(FACTS + 1)]
        await loop.send("two", session)
        await loop.send("three", session)
        whole = await all_events(loop, session)
        assert await before == whole
        for after, task in enumerate(between):
            assert await task == whole[after:]


@pytest.mark.acceptance("G2")
async def test_what_is_done_outside_a_turn_comes_too(tmp_path: Path) -> None:
    async with open_loop(tmp_path, [LONG] * 4) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        for _ in range(4):
            await loop.send(LONG, session)
        events = loop.events(session, after=8)
        waiting = asyncio.create_task(anext(events))
        await listening(loop, 1)
        assert await loop.compact(session, strategy=SlidingWindow(turns=1)) is not None
        assert isinstance((await waiting).event, f.HistoryCompacted)
        await loop.undo_compaction(session)
        assert (await anext(events)).event == f.CompactionUndone(session=SessionId(session), turn=4, compaction=1)


def order(events: list[SessionEvent]) -> list[str]:
    """Kinds in their order, deltas of one text as one."""
    found: list[str] = []
    for event in events:
        kind = type(event.event).__name__
        if event.number is not None or not found or found[-1] != kind:
            found.append(kind)
    return found


@pytest.mark.acceptance("G2")
async def test_live_events_stand_between_the_facts_where_they_came(tmp_path: Path) -> None:
    @tool(effect="read")
    async def count(ctx: ToolContext) -> str:
        """Counts."""
        for number in range(3):
            ctx.emit({"n": number})
        return "3"

    llm = ScriptedLLM([calls(("count", {}), text="I count to three"), "one two three four"], piece=3)
    async with open_loop(tmp_path, llm, tools=[count]) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        reading = asyncio.create_task(taken(loop.events(session, deltas=True), 6))
        plain = asyncio.create_task(taken(loop.events(session), 6))
        await listening(loop, 2)
        await loop.send("go", session)  # nobody streams: it is asked to because somebody listens
        found = await reading
        assert order(found) == [
            "TurnBegan", "TextDelta", "ToolCallDelta", "CallsRequested", "CallsStarted", "ToolProgress", "CallSettled",
            "RoundClosed", "TextDelta", "AnswerReceived",
        ]  # fmt: skip
        said = "".join(event.event.text for event in found if isinstance(event.event, TextDelta))
        assert said == "I count to threeone two three four"
        progress = [event.event.progress for event in found if isinstance(event.event, ToolProgress)]
        assert progress == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert [event for event in found if event.number is not None] == await plain == await all_events(loop, session)


async def test_without_a_reader_of_deltas_the_model_is_not_asked_to_stream(tmp_path: Path) -> None:
    class Counting(ScriptedLLM):
        streams = 0

        def stream(self, request: Any) -> Any:
            Counting.streams += 1
            return super().stream(request)

    async with open_loop(tmp_path, Counting(["one", "two"])) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        plain = loop.events(session)
        waiting = asyncio.create_task(anext(plain))
        await loop.send("go", session)
        await waiting
        assert Counting.streams == 0
        deltas = loop.events(session, after=2, deltas=True)
        heard = asyncio.create_task(anext(deltas))
        await until(lambda: hub_of(loop).listened(session))
        await loop.send("go", session)
        assert Counting.streams == 1
        assert (await heard).number == 3


@pytest.mark.acceptance("G3")
async def test_a_reader_that_does_not_read_is_dropped_and_nobody_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    @tool(effect="read")
    async def chatter(ctx: ToolContext) -> str:
        """Says much."""
        nonlocal runs
        runs += 1
        for number in range(ROOM + 10):
            ctx.emit(number)
            if not number % 100:
                await asyncio.sleep(0)
        return "done"

    llm = [calls(("chatter", {})), "that was much"]
    async with open_loop(tmp_path, llm, tools=[chatter]) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        slow, quick = loop.events(session, deltas=True), loop.events(session, deltas=True)
        first = [asyncio.create_task(anext(slow)), asyncio.create_task(anext(quick))]
        await listening(loop, 2)
        sending = asyncio.create_task(loop.send("go", session))
        began = await first[0]
        assert (began.number, type(began.event)) == (1, f.TurnBegan)
        found = [await first[1], *await taken(quick, 6)]  # while the other holds what it has
        result = await sending
        assert (result.status, runs) == ("completed", 1)
        assert sum(event.number is None and isinstance(event.event, ToolProgress) for event in found) == ROOM + 10
        assert len(slow._subscription) == 0  # type: ignore[arg-type]
        assert "is dropped" in caplog.text
        with pytest.raises(EventsLaggedError) as lagged:
            async for _ in slow:
                pass
        assert (lagged.value.cursor, lagged.value.code, lagged.value.session_id) == (1, "events.lagged", session)
        rest = await all_events(loop, session, lagged.value.cursor)
        assert facts_of([began, *rest]) == facts_of(found)
        assert [event async for event in slow] == []  # it has ended
        await quick.aclose()
        assert len(hub_of(loop)) == 0


@pytest.mark.acceptance("G3")
async def test_a_reader_without_deltas_may_be_as_slow_as_it_likes(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT * 20, tools=[look, write]) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()
        events = loop.events(session)
        first = asyncio.create_task(anext(events))
        for number in range(20):
            await loop.send(f"turn {number}", session)
        assert len(events._subscription) == 0  # type: ignore[arg-type]
        assert [await first, *await taken(events, 20 * FACTS)] == await all_events(loop, session)


@pytest.mark.acceptance("G3", "D3")
async def test_whoever_leaves_or_raises_ends_its_own_reading_only_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT * 2, tools=[look, write]) as loop, asyncio.timeout(PATIENCE):
        session = await loop.create_session()

        async def raising() -> None:
            async for event in loop.events(session, deltas=True):
                if event.number == 2:
                    raise RuntimeError("of the app")

        async def leaving() -> None:
            async for event in loop.events(session):
                if event.number == 2:
                    break

        staying = asyncio.create_task(taken(loop.events(session), 2 * FACTS))
        others = [asyncio.create_task(raising()), asyncio.create_task(leaving())]
        await listening(loop, 3)
        results = [await loop.send("one", session), await loop.send("two", session)]
        assert [result.status for result in results] == ["completed", "completed"]
        with pytest.raises(RuntimeError, match="of the app"):
            await others[0]
        await others[1]
        assert await staying == await all_events(loop, session)
        del staying, others
        gc.collect()
        assert len(hub_of(loop)) == 0
        assert hub_of(loop)._of == {}


async def test_it_ends_when_the_session_is_deleted_also_if_one_of_its_id_is_made_again(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["one", "two"]) as loop, asyncio.timeout(PATIENCE):
        await loop.create_session("s")
        events = loop.events("s")
        waiting = asyncio.create_task(anext(events))
        await loop.send("go", "s")
        assert (await waiting).number == 1
        assert (await anext(events)).number == 2
        rest = asyncio.create_task(anext(events, None))
        await listening(loop, 1)
        await loop.delete_session("s")
        await loop.create_session("s")
        await loop.send("go", "s")
        assert await rest is None
        assert len(hub_of(loop)) == 0
        assert len(await all_events(loop, "s")) == 2


async def test_it_ends_when_the_loop_closes(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, ["one"])
    async with loop, asyncio.timeout(PATIENCE):
        session = (await loop.send("go")).session_id
        readers = [loop.events(session, after=2, deltas=deltas) for deltas in (False, True)]
        waiting = [asyncio.create_task(anext(events, None)) for events in readers]
        await listening(loop, 2)
        late = loop.events(session)
    async with asyncio.timeout(PATIENCE):
        assert [await task for task in waiting] == [None, None]
    assert len(hub_of(loop)) == 0 if loop._opening else True
    with pytest.raises(Exception, match="closed"):
        await anext(late)


async def test_nothing_is_read_while_nothing_happens(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["one"]) as loop, asyncio.timeout(PATIENCE):
        session = (await loop.send("go")).session_id
        store: Any = loop._opening.result().store  # type: ignore[union-attr]
        reads: list[int] = []
        real, looks = store.events, store.changed
        looked = asyncio.Event()
        count = 0

        async def events(*arguments: Any) -> Any:
            reads.append(1)
            return await real(*arguments)

        async def changed() -> int:
            nonlocal count
            count += 1
            if count == 5:
                looked.set()
            version: int = await looks()
            return version

        store.events, store.changed = events, changed
        events_ = loop.events(session, after=2)
        waiting = asyncio.create_task(anext(events_, None))
        await looked.wait()
        assert len(reads) <= 3  # where it stands, what came since, and the first look's change
        waiting.cancel()
