"""The kit that judges kills can tell events that do not fit: each way to forge them is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import calls
from power_loop.testing.crash.evidence import SessionRows, rows_of
from power_loop.testing.crash.happened import happened
from tests.events.kit import database, look, open_loop

FORGED = {
    "UPDATE sessions SET events = 7": "7 events are counted, 6 are there",
    "DELETE FROM events WHERE number = 6": "6 events are counted, 5 are there",
    "DELETE FROM events WHERE number = 2": "after event 1 come",
    "UPDATE events SET facts = 2 WHERE number = 1": "come 2 from 1 on, in a row of 1",
    "UPDATE events SET body = replace(body, 'TurnBegan', 'Noted')": "AnswerReceived of turn 1, and the live",
    "UPDATE events SET body = replace(body, 'AnswerReceived', 'Noted')": "by the events turn 1 is live",
    "UPDATE events SET body = replace(body, 'CallSettled', 'Noted')": "the calls [] were settled",
    "UPDATE events SET body = replace(body, 'CallsStarted', 'Noted')": "the calls [] were started",
    "UPDATE events SET body = replace(body, 'RoundClosed', 'TurnParked')": "AnswerReceived of turn 1, and the live one",
    "UPDATE events SET body = replace(body, 'RoundClosed\"', 'CallSettled\",\"key\":[2,0]')": "which was not open",
    "UPDATE events SET body = replace(body, 'RoundClosed', 'TurnBegan')": "turn 1 began, and turn 1 had not ended",
}


async def problems(tmp_path: Path, *statements: str) -> list[str]:
    async with open_loop(tmp_path, [calls(("look", {"n": 1})), "seen"], tools=[look]) as loop:
        await loop.send("go")
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount
        rows = rows_of(connection)
    (session,) = rows["sessions"]
    return list(happened(SessionRows(session, rows)))


async def test_sound_events_fit(tmp_path: Path) -> None:
    assert await problems(tmp_path) == []


@pytest.mark.parametrize(("statement", "words"), FORGED.items())
async def test_forged_events_are_found(tmp_path: Path, statement: str, words: str) -> None:
    assert words in "\n".join(await problems(tmp_path, statement))
