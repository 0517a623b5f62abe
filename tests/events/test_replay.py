"""G2: what happened is read again as it was, from any cursor, however a session came to where it is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import calls
from power_loop import InputInvalidError, SessionNotFoundError, StatefulAgentLoop, StoreDamagedError
from power_loop.compaction.strategies import SlidingWindow
from power_loop.engine import facts as f
from power_loop.store.sqlite.doctor import Grade, examine
from tests.events.kit import LONG, Recording, all_events, database, facts_of, look, open_loop, write

ROOT = Path(__file__).parents[2]
SCRIPT = [calls(("look", {"n": 1}), ("look", {"n": 2}), ("write", {}), text="let me see"), "all done"]


@pytest.mark.acceptance("G2")
async def test_replayed_facts_are_the_live_ones_in_their_order_from_every_cursor(tmp_path: Path) -> None:
    sink = Recording()
    async with open_loop(tmp_path, SCRIPT * 2, tools=[look, write], sinks=[sink], result_limit=None) as loop:
        session = await loop.create_session(system_prompt="be brief")
        streamed = [event async for event in loop.stream("göteborg \u2028 \N{GRINNING FACE}", session)]
        await loop.send("and again", session, request_id="second")
        live = [event for event in streamed if isinstance(event, f.Fact)]
        found = facts_of(await all_events(loop, session))
        assert found == sink.facts
        assert found[: len(live)] == live
    async with StatefulAgentLoop(db_path=database(tmp_path), create=False) as loop:  # as another process would
        for after in range(len(found) + 1):
            assert facts_of(await all_events(loop, session, after)) == sink.facts[after:]


@pytest.mark.acceptance("G2")
async def test_whatever_began_came_to_its_one_end(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT, tools=[look, write]) as loop:
        session = (await loop.send("go")).session_id
        found = facts_of(await all_events(loop, session))
        started = [key for fact in found if isinstance(fact, f.CallsStarted) for key in fact.calls]
        settled = [fact.key for fact in found if isinstance(fact, f.CallSettled)]
        assert len(started) == 3
        assert sorted(started) == sorted(settled)
        assert [type(found[0]), type(found[-1])] == [f.TurnBegan, f.AnswerReceived]


async def test_a_session_of_two_thousand_facts_comes_in_pages(tmp_path: Path) -> None:
    turns = 400
    script = [calls(("look", {"n": 1})), "seen"] * turns
    async with open_loop(tmp_path, script, tools=[look], synchronous="NORMAL", context_window=10_000_000) as loop:
        session = await loop.create_session()
        for number in range(turns):
            await loop.send(f"turn {number + 1}", session)
        found = facts_of(await all_events(loop, session))
        assert len(found) == 6 * turns >= 2_000
        began = [fact for fact in found if isinstance(fact, f.TurnBegan)]
        assert [fact.turn for fact in began] == list(range(1, turns + 1))
        assert [fact.input[0].body for fact in began[:2]] == [
            '{"role":"user","content":"turn 1"}',
            '{"role":"user","content":"turn 2"}',
        ]
        assert facts_of(await all_events(loop, session, 2_345)) == found[2_345:]


async def test_folded_messages_are_in_their_facts_as_they_were(tmp_path: Path) -> None:
    sink = Recording()
    async with open_loop(tmp_path, [LONG] * 4, sinks=[sink]) as loop:
        session = await loop.create_session()
        for text in ("first", "second", "third", "fourth"):
            await loop.send(f"{text} {LONG}", session)
        assert await loop.compact(session, strategy=SlidingWindow(turns=1)) is not None
        await loop.undo_compaction(session)
        await loop.compact(session, strategy=SlidingWindow(turns=1))
        found = facts_of(await all_events(loop, session))
        assert found[:8] == sink.facts
        assert [type(fact) for fact in found[8:]] == [f.HistoryCompacted, f.CompactionUndone, f.HistoryCompacted]


async def test_a_cursor_beyond_the_end_and_a_session_that_is_not_there_are_refused(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["one"]) as loop:
        session = (await loop.send("go")).session_id
        assert await all_events(loop, session, 2) == []
        with pytest.raises(InputInvalidError, match=r"after is 3, and session .* has 2 events"):
            await all_events(loop, session, 3)
        with pytest.raises(SessionNotFoundError):
            await all_events(loop, "nobody")
        for wrong in (-1, 1.5, "1", None, True, 2**63):
            with pytest.raises(InputInvalidError):
                loop.events(session, after=wrong)  # type: ignore[arg-type]
        with pytest.raises(InputInvalidError):
            loop.events(session, follow=False, deltas=True)
        with pytest.raises(InputInvalidError):
            loop.events(session, follow="no")  # type: ignore[arg-type]


async def damaged(tmp_path: Path, *statements: str) -> list[str]:
    """What comes out of two turns whose rows were changed by another hand: kinds of facts, or `damaged`."""
    async with open_loop(tmp_path, SCRIPT * 2, tools=[look, write]) as loop:
        session = (await loop.send("go")).session_id
        await loop.send("on", session)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount == 1
    found = []
    async with StatefulAgentLoop(db_path=database(tmp_path)) as loop:
        events = loop.events(session, follow=False)
        while True:
            try:
                found.append(type((await anext(events)).event).__name__)
            except StopAsyncIteration:
                break
            except StoreDamagedError as error:
                found.append(f"damaged to {events.cursor}" if error.session_id == session else str(error))
    return found


TURN = ["TurnBegan", "CallsRequested", "CallsStarted", "CallSettled", "CallSettled", "CallSettled", "RoundClosed"]
WHOLE = [*TURN, "AnswerReceived", *TURN, "AnswerReceived"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE messages SET body = replace(body, 'go', 'no') WHERE seq = 1", ["damaged to 1", *WHOLE[1:]]),
        ("UPDATE calls SET arguments = '{}' WHERE seq = 2 AND ordinal = 0", [WHOLE[0], "damaged to 2", *WHOLE[2:]]),
        ("UPDATE events SET body = replace(body, '1', '7') WHERE number = 2", [WHOLE[0], "damaged to 3", *WHOLE[3:]]),
        ("DELETE FROM events WHERE number = 2", [WHOLE[0], "damaged to 3", *WHOLE[3:]]),
        ("DELETE FROM events WHERE number = 1", ["damaged to 1", *WHOLE[1:]]),
        ("DELETE FROM events WHERE number = 16", [*WHOLE[:15], "damaged to 16"]),
        ("UPDATE events SET crc = 0 WHERE number = 16", [*WHOLE[:15], "damaged to 16"]),
    ],
    ids=["message", "call", "body", "middle", "first", "last", "crc"],
)
async def test_what_is_damaged_is_said_in_its_place_and_the_rest_is_read(
    tmp_path: Path, statement: str, expected: list[str]
) -> None:
    assert await damaged(tmp_path, statement) == expected


async def test_a_database_of_an_older_schema_begins_with_what_happens_next(tmp_path: Path) -> None:
    path = database(tmp_path)
    shutil.copyfile(ROOT / "tests" / "corpus" / "schema_0004.db", path)
    async with open_loop(tmp_path, ["here I am"]) as loop:
        assert await all_events(loop, "idle") == []
        await loop.send("who is there?", "idle")
        found = facts_of(await all_events(loop, "idle"))
        assert [type(fact) for fact in found] == [f.TurnBegan, f.AnswerReceived]
        assert found[0].turn > 1
        await loop.abort_pending("in tools")
        assert [type(fact) for fact in facts_of(await all_events(loop, "in tools"))] == [f.CallsAborted]
    assert [finding.name for finding in examine(path) if finding.grade is Grade.BAD] == []


async def test_the_view_shows_each_fact_in_a_row(tmp_path: Path) -> None:
    async with open_loop(tmp_path, SCRIPT, tools=[look, write]) as loop:
        await loop.send("go", request_id="one")
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        found = connection.execute("SELECT number, turn, fact FROM v_events ORDER BY number").fetchall()
        assert found == [(number, 1, kind) for number, kind in enumerate([*TURN, "AnswerReceived"], 1)]
        (state,) = connection.execute("SELECT body ->> '$.state' FROM v_events WHERE number = 4").fetchone()
        assert state == "succeeded"
