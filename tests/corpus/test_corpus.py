"""A database of every released schema, written by that release: it opens, reads, resumes and sends."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, SessionPendingError, SessionState, StatefulAgentLoop, Status, tool
from power_loop.rules import Move, Step, Steps, called
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


@tool(approval=True)
def order(what: str) -> str:
    """Order something."""
    return f"ordered {what}"


@tool(external=True)
def locate() -> str:
    """The host knows."""
    raise AssertionError


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copy = tmp_path / "agent.db"
    shutil.copyfile(request.param, copy)
    return copy


def knows_people(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT 1 FROM sessions WHERE id = 'asked'").fetchone() is not None


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
        } | ({"asked": SessionState.AWAITING_APPROVAL} if knows_people(path) else {})
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


@pytest.mark.acceptance("A3", "B6", "B8", "G2")
async def test_what_people_were_asked_goes_on_in_those_that_know_people(path: Path) -> None:
    if not knows_people(path):
        async with StatefulAgentLoop(db_path=path) as loop:
            assert await loop.get_approvals() == []
            assert [event async for event in loop.events("idle", follow=False)] == [], "events begin with the upgrade"
        return
    llm = ScriptedLLM(["done"])
    steps = Steps([Step("begin"), Step("end", final=True)], moves=[Move("begin", "end", called("look"))])
    config = AgentLoopConfig(steps=steps)
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look, pay, order, locate], config=config) as loop:
        assert [wait.call_id for wait in await loop.get_approvals()] == ["call_1"]
        await loop.deny("asked", "call_1", "too dear")
        waiting = await loop.resume("asked")
        assert (waiting.status, [call.name for call in waiting.pending_tool_calls]) == ("waiting_for_input", ["locate"])
        assert (await loop.submit_results("asked", {"call_2": "at home"})).final_text == "done"
        told = [message.text for message in await loop.get_messages("asked") if message.role == "tool"]
        assert told[0].endswith("ordered coffee")
        assert told[1:] == ["[denied] A person did not approve this call. It did not run. The reason: too dear",
                            "at home", "saw c"]  # fmt: skip
        numbers = [event.number async for event in loop.events("asked", follow=False)]
        assert numbers == list(range(1, len(numbers) + 1))
