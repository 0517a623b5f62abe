"""A database of every released schema, written by that release: it opens, reads, resumes and sends."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionPendingError, SessionState, StatefulAgentLoop, Status, tool
from power_loop.store.sqlite import migrating
from power_loop.transcript.rules import violations

FOLDER = Path(__file__).parent
RELEASED = sorted(FOLDER.glob("schema_*.db"))


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    return f"saw {what}"


@tool
def pay(amount: int) -> str:
    """In doubt in the corpus: never runs here."""
    raise AssertionError("a once call in doubt was repeated")


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copy = tmp_path / "agent.db"
    shutil.copyfile(request.param, copy)
    return copy


def test_every_schema_is_in_the_corpus() -> None:
    versions = len(migrating.load(migrating.folder("sqlite")))
    assert [file.stem for file in RELEASED] == [f"schema_{number:04d}" for number in range(1, versions + 1)]


@pytest.mark.acceptance("A3")
async def test_it_reads(path: Path) -> None:
    async with StatefulAgentLoop(db_path=path) as loop:
        states = {info.session_id: info.state for info in await loop.list_sessions()}
        assert states == {
            "idle": SessionState.IDLE,
            "failed": SessionState.FAILED,
            "in tools": SessionState.INTERRUPTED_IN_TOOLS,
        }
        assert (await loop.get_session("idle")).metadata == {"customer": "ACME"}
        assert (await loop.get_session("in tools")).parent == "idle"
        folded = [m for m in await loop.get_messages("idle", include_compacted=True) if m.state == "compacted_out"]
        words = [m.text.split(":")[0] for m in folded if m.role == "user" and not m.note]
        assert words[:2] == ["look at the sea", "and on"]
        assert [m.note for m in await loop.get_messages("idle")].count(True) == 1
        assert violations(m.message for m in await loop.get_messages("idle")) == []
        assert [(call.name, call.state) for call in await loop.get_pending("in tools")] == [
            ("pay", "in_doubt"),
            ("look", "requested"),
        ]


@pytest.mark.acceptance("A3")
async def test_it_resumes_and_sends(path: Path) -> None:
    llm = ScriptedLLM(["went on", "once more", "recovered", "known"])
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look, pay]) as loop:
        with pytest.raises(SessionPendingError):
            await loop.send("hello?", "in tools")
        assert (await loop.resume("in tools")).final_text == "went on"
        assert [str(call.state) for call in await loop.get_calls("in tools")] == ["succeeded", "reported", "succeeded"]
        assert (await loop.send("hello?", "in tools")).final_text == "once more"
        assert (await loop.resume("failed")).final_text == "recovered"
        stored = await loop.send("the last", "idle", request_id="the last")
        assert (stored.status, stored.final_text) == (Status.COMPLETED, "Answered. \N{GRINNING FACE}")
        for session in ("idle", "failed", "in tools"):
            assert violations(m.message for m in await loop.get_messages(session)) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
