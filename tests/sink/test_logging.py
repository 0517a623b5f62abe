"""A line a fact in a log: short, one line whatever is in it, and nothing of what was said."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import LoggingSink, ModelError, StatefulAgentLoop, tool
from power_loop.engine import facts as f
from power_loop.sink.brief import CallNames
from power_loop.sink.log import LONGEST_LINE
from power_loop.testing.conformance.every_fact import every_fact
from power_loop.values import CallKey, Effect, SessionId
from tests.sink.kit import KINDS, cancelled, conversation

SECRET = "hunter2"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "power_loop.facts"]


async def test_a_turn_is_told_with_its_tools_states_and_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")
    await conversation(tmp_path / "a.db", [LoggingSink()], turns=1)
    told = lines(caplog)
    assert [line.split(" ")[0] for line in told] == KINDS
    assert all(line.split(" ")[1:3] == ["session=s", "turn=1"] for line in told)
    began, requested, started, settled, closed, received = told
    assert "origin=1" in began
    assert "input=1" in began
    call = next(word for word in requested.split() if word.startswith("call="))
    assert call.startswith("call=work/")
    assert "prompt_tokens=" in requested
    assert "completion_tokens=" in requested
    assert "model=scripted" in requested
    assert call in started
    assert call in settled
    assert "state=succeeded" in settled
    assert "settled_by=run" in settled
    assert "round=1" in closed
    assert "status=completed" in received


@pytest.mark.parametrize("bodies", [False, True])
async def test_what_was_said_is_told_only_if_somebody_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bodies: bool
) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")

    @tool
    def work(what: str) -> str:
        """Works."""
        return f"{what} in a result"

    script = [calls(("work", {"what": f"{SECRET} in an argument"})), f"{SECRET} in an answer"]
    sinks = [LoggingSink(bodies=bodies)]
    async with StatefulAgentLoop(llm=ScriptedLLM(script), db_path=tmp_path / "a.db", tools=[work], sinks=sinks) as loop:
        await loop.send(f"{SECRET} in an input")
    told = "\n".join(lines(caplog))
    found = [place for place in ("an input", "an argument", "a result", "an answer") if f"{SECRET} in {place}" in told]
    assert bool(found) == bodies
    assert (SECRET in told) == bodies
    if bodies:
        assert "an input" in found
        assert "an answer" in found
        assert "arguments=" in told


async def test_a_failure_is_told_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")
    llm = ScriptedLLM([ModelError("the endpoint\nis gone")])
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "a.db", sinks=[LoggingSink()]) as loop:
        with pytest.raises(ModelError):
            await loop.send("hi")
    assert "TurnFailed session=" in lines(caplog)[-1]
    assert "error_code=model.error" in lines(caplog)[-1]
    assert r'error="the endpoint\nis gone"' in lines(caplog)[-1]


HOSTILE = [
    "a\nb", "a\r\nb",
    "\u2028\u2029\x85\x0b\x0c\x1b[31m", "\x00", "x status=completed", 'q" turn=9 "', "\\", "half \ud83d",
    "", "x" * 100_000, "\n" * 100_000, "\N{GRINNING FACE}" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("bodies", [False, True])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_every_fact_is_one_bounded_line_whatever_is_in_it(
    caplog: pytest.LogCaptureFixture, text: str, bodies: bool
) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")
    facts = every_fact(session=text[:200] or "s", text=text)
    sink = LoggingSink(bodies=bodies)
    await sink.record(facts)
    told = lines(caplog)
    assert len(told) == len(facts)
    for line, fact in zip(told, facts, strict=True):
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert line.encode()
        assert len(line) <= LONGEST_LINE * (8 if bodies else 1)
        assert line.startswith(type(fact).__name__ + " session=")


async def test_no_text_passes_for_another_field(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")
    forged = f.TurnCancelled(
        session=SessionId('s" turn=7 status=completed'), turn=1, status="cancelled", stop_reason="x turn=8"
    )
    await LoggingSink().record([forged])
    bare = re.sub(r'"(\\.|[^"\\])*"', "...", lines(caplog)[0])
    assert bare == "TurnCancelled session=... turn=1 status=cancelled stop_reason=..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Novel(f.Fact):
    """A kind of fact that nobody knew when the sinks were written."""

    verdict: str
    count: int
    key: CallKey
    effect: Effect
    guidance: str
    nothing: str | None = None


NOVEL = Novel(
    session=SessionId("s"), turn=1, verdict="nudge", count=3, key=CallKey(4, 1), effect=Effect.READ, guidance=SECRET
)


async def test_a_kind_of_fact_nobody_knows_is_told_by_its_simple_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "power_loop.facts")
    await LoggingSink().record([NOVEL])
    assert lines(caplog) == ["Novel session=s turn=1 verdict=nudge count=3 key=4.1 effect=read call=4.1"]


async def test_its_logger_and_its_level_are_the_apps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app.agent")
    sink = LoggingSink(logging.getLogger("app.agent"), logging.DEBUG)
    await sink.record([cancelled()])
    await sink.aclose()
    await sink.record([cancelled()])
    assert [(record.name, record.levelname) for record in caplog.records] == [("app.agent", "DEBUG")]


def test_names_of_calls_are_forgotten_with_their_turns() -> None:
    names = CallNames(turns=3)
    call = f.RequestedCall(
        key=CallKey(2, 0), id="call_1", name="work", arguments="{}", effect=Effect.ONCE, schema_hash=None
    )
    for n in range(9):
        session = SessionId(f"s{n}")
        names.hear(f.TurnBegan(session=session, turn=1, origin=1, request_id=None, input=(), open_calls=(call,)))
    assert len(names) == 3
    known = names.of(SessionId("s8"), call.key)
    assert known is not None
    assert (known.name, known.id) == ("work", "call_1")
    assert names.of(SessionId("s0"), call.key) is None
    names.hear(f.TurnBegan(session=SessionId("s8"), turn=2, origin=2, request_id=None, input=()))
    assert names.of(SessionId("s8"), call.key) is None
    names.forget(SessionId("s8"))
    assert len(names) == 2
