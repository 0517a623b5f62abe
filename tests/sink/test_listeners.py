"""A sink that raises, hangs or is slow changes neither history nor the tool runs; it is logged and dropped."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import ConfigError, JsonlSink, ModelError, SinkLimits, StatefulAgentLoop
from power_loop.engine import facts as f
from power_loop.sink import Listeners
from tests.loop.kit import stuck_in, until
from tests.sink.kit import (
    IMPATIENT,
    KINDS,
    Deaf,
    Hanging,
    Listening,
    Raising,
    Slow,
    cancelled,
    conversation,
    script,
    working,
)
from tests.sink.test_sinks import lines

BAD: dict[str, tuple[Callable[[], Listening], str | None]] = {
    "raises": (Raising, "it raised OSError over TurnBegan of session 's'"),
    "raises a timeout of its own": (lambda: Raising(TimeoutError()), "it raised TimeoutError"),
    "raises a cancellation of its own": (lambda: Raising(asyncio.CancelledError()), "it raised CancelledError"),
    "hangs": (Hanging, "it took more than 0.2 s over TurnBegan"),
    "hangs and is deaf": (Deaf, "it took more than 0.2 s over TurnBegan"),
    "slow": (Slow, None),
}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the sinks' logger was told."""
    caplog.set_level(logging.ERROR, "power_loop.sink")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "power_loop.sink"]


@pytest.mark.acceptance("G3")
@pytest.mark.parametrize("how", BAD)
async def test_g3_a_bad_sink_beside_a_good_one_changes_neither_history_nor_tool_runs(
    tmp_path: Path, told: Callable[[], list[str]], how: str
) -> None:
    without = await conversation(tmp_path / "without.db", [])
    make, why = BAD[how]
    bad, good = make(), Listening()
    async with asyncio.timeout(20):
        found = await conversation(tmp_path / "with.db", [bad, good], IMPATIENT)
    if isinstance(bad, Hanging):
        bad.let_go.set()  # what is deaf would outlive this test
    assert found == without
    assert without[1] == ["part 0", "part 1", "part 2"]
    assert good.kinds == KINDS * 3
    assert [fact.turn for fact in good.facts] == [1] * 6 + [2] * 6 + [3] * 6
    assert good.closed == 1
    dropped = [line for line in told() if "is dropped" in line]
    if why is None:
        assert dropped == []
        assert bad.facts == good.facts
    else:
        assert len(dropped) == 1, dropped
        assert why in dropped[0]
        assert type(bad).__name__ in dropped[0]
        assert {fact.turn for fact in bad.facts} == {1}, "one that was dropped hears no more"


@pytest.mark.acceptance("G3")
async def test_g3_a_hanging_sink_is_waited_for_once_and_not_by_the_turns_after(
    tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    limits = SinkLimits(record_seconds=60, turn_seconds=0.5, close_seconds=0.1)
    hanging, good = Hanging(), Listening()
    loop = StatefulAgentLoop(
        llm=ScriptedLLM(script(20)), db_path=tmp_path / "a.db", tools=[working([])], sinks=[hanging, good],
        sink_limits=limits,
    )  # fmt: skip
    clock = asyncio.get_running_loop().time
    async with loop:
        await loop.create_session("s")
        begun = clock()
        await loop.send("go", "s")
        assert clock() - begun >= 0.5
        begun = clock()
        for _ in range(19):
            await loop.send("go", "s")
        assert clock() - begun < 19 * 0.5, "nobody waits for it again"
        assert told() == [], "it may still wake up"
        hanging.let_go.set()
        await loop.get_session("s")
    assert hanging.facts == good.facts, "it woke up, and heard the rest before the loop was closed"
    assert told() == []


@pytest.mark.acceptance("G3")
async def test_g3_a_sink_that_catches_up_is_waited_for_again() -> None:
    class Waking(Hanging):
        heard_two = asyncio.Event()

        async def record(self, facts: Sequence[f.Fact]) -> None:
            await super().record(facts)
            if len(self.facts) == 2:
                self.heard_two.set()

    sink = Waking()
    listeners = Listeners([sink], SinkLimits(turn_seconds=0.05))
    await listeners.record([cancelled(1)])
    await listeners.caught_up()
    await listeners.record([cancelled(2)])
    await listeners.caught_up()
    assert [fact.turn for fact in sink.facts] == [1]
    sink.let_go.set()
    await until(sink.heard_two)
    await listeners.record([cancelled(3)])
    assert [fact.turn for fact in sink.facts] == [1, 2]
    await listeners.caught_up()
    assert [fact.turn for fact in sink.facts] == [1, 2, 3]
    await listeners.aclose()


@pytest.mark.acceptance("G3")
async def test_g3_recording_waits_for_nobody_and_a_line_that_is_too_long_is_given_up(
    told: Callable[[], list[str]],
) -> None:
    hanging, good = Hanging(), Listening()
    listeners = Listeners([hanging, good], SinkLimits(queued_facts=10))
    await listeners.record([cancelled(1)])
    await until(hanging.inside)
    for turn in range(2, 12):
        await listeners.record([cancelled(turn)])
        await asyncio.sleep(0)
    assert told() == []
    assert len(listeners) == 2
    await listeners.record([cancelled(12)])
    assert len(listeners) == 1
    (line,) = told()
    assert "10 facts wait for it, and no more than 10 may" in line
    await listeners.record([cancelled(13)])
    await listeners.caught_up()
    assert [fact.turn for fact in good.facts] == list(range(1, 14))
    assert [fact.turn for fact in hanging.facts] == [1]
    assert hanging.cancelled == 1
    await listeners.aclose()
    assert (hanging.closed, good.closed) == (1, 1), "also the one that was dropped"


async def test_facts_of_one_commit_stay_together_however_many_they_are() -> None:
    class Batches(Listening):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        async def record(self, facts: Sequence[f.Fact]) -> None:
            self.sizes.append(len(facts))
            await super().record(facts)

    sink = Batches()
    listeners = Listeners([sink], SinkLimits(queued_facts=2))
    given = [cancelled(1), cancelled(2), cancelled(3)]
    await listeners.record(given)
    given.clear()
    await listeners.record([])
    await listeners.caught_up()
    await listeners.record([cancelled(4)])
    await listeners.aclose()
    assert sink.sizes == [3, 1]


@pytest.mark.acceptance("G3")
async def test_g3_sessions_at_once_each_keep_their_order(tmp_path: Path) -> None:
    slow, good, path = Slow(), Listening(), tmp_path / "facts.jsonl"
    ran: list[str] = []
    loop = StatefulAgentLoop(
        llm=ScriptedLLM(["answer"] * 40), db_path=tmp_path / "a.db", tools=[working(ran)],
        sinks=[slow, good, JsonlSink(path)],
    )  # fmt: skip
    async with loop:

        async def one(session: str) -> None:
            await loop.create_session(session)
            for _ in range(4):
                await loop.send("go", session)

        await asyncio.gather(*(one(f"s{n}") for n in range(10)))
    expected = [(kind, turn) for turn in range(1, 5) for kind in ("TurnBegan", "AnswerReceived")]
    written = lines(path)
    for n in range(10):
        for sink in (slow, good):
            heard = [(type(fact).__name__, fact.turn) for fact in sink.facts if fact.session == f"s{n}"]
            assert heard == expected
        assert [(line["fact"], line["turn"]) for line in written if line["session"] == f"s{n}"] == expected


@pytest.mark.acceptance("G3")
async def test_g3_closing_ends_beside_sinks_that_never_do(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    hanging, deaf, raising, good = Hanging(), Deaf(), Raising(), Listening()
    limits = SinkLimits(record_seconds=60, turn_seconds=0.05, close_seconds=0.1)
    async with asyncio.timeout(20):
        await conversation(tmp_path / "a.db", [hanging, deaf, raising, good], limits)
    deaf.let_go.set()  # else it would outlive this test
    assert (hanging.closed, raising.closed, good.closed) == (1, 1, 1)
    assert hanging.cancelled == 1
    assert good.kinds == KINDS * 3
    said = told()
    assert sum("had not heard everything 0.1 s after the loop was closed" in line for line in said) == 2
    assert sum("could not be closed: its aclose() took more than 0.1 s" in line for line in said) == 1


async def test_closing_twice_closes_once_and_what_comes_later_is_not_heard() -> None:
    sink = Listening()
    listeners = Listeners([sink])
    await listeners.record([cancelled(1)])
    await listeners.aclose()
    await listeners.record([cancelled(2)])
    await listeners.caught_up()
    await listeners.aclose()
    assert ([fact.turn for fact in sink.facts], sink.closed) == ([1], 1)


@pytest.mark.acceptance("C1", "G3")
async def test_g3_cancelling_a_turn_tears_no_record(tmp_path: Path) -> None:
    """The turn is cancelled while the sink is inside a record of it: the sink never hears of that."""
    sink = Hanging()
    loop = StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=tmp_path / "a.db", sinks=[sink])
    async with loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, sink.inside):
            sending.cancel()
            sink.let_go.set()
            with pytest.raises(asyncio.CancelledError):
                await sending
    assert sink.cancelled == 0
    assert sink.kinds[0] == "TurnBegan"
    assert sink.kinds[-1] in ("AnswerReceived", "TurnCancelled")


@pytest.mark.parametrize("ends", ["answered", "failed"])
async def test_what_a_jsonl_sink_writes_is_there_when_send_returned(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "facts.jsonl"
    answers: list[Any] = ["hello" if ends == "answered" else ModelError("no")] * 30
    loop = StatefulAgentLoop(llm=ScriptedLLM(answers), db_path=tmp_path / "a.db", sinks=[JsonlSink(path)])
    async with loop:
        await loop.create_session("s")
        for turn in range(1, 31):
            if ends == "answered":
                await loop.send("go", "s")
            else:
                with pytest.raises(ModelError):
                    await loop.send("go", "s")
            assert [line["turn"] for line in lines(path)] == [n for n in range(1, turn + 1) for _ in range(2)]


def test_send_sync_tells_its_sinks_and_closes_them(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    sink = Listening()
    loop = StatefulAgentLoop(llm=ScriptedLLM(["one", "two"]), db_path=tmp_path / "a.db", sinks=[sink])
    first = loop.send_sync("hi")
    assert (sink.kinds, sink.closed) == (["TurnBegan", "AnswerReceived"], 1)
    loop.send_sync("more", first.session_id)
    assert (sink.kinds, sink.closed) == (["TurnBegan", "AnswerReceived"] * 2, 2)
    assert told() == []


def test_a_loop_that_is_never_closed_leaves_no_task_behind(tmp_path: Path) -> None:
    """Nothing waits for facts that do not come: warnings are errors here."""
    sink = Listening()
    loop = StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=tmp_path / "a.db", sinks=[sink])

    async def main() -> set[str]:
        await loop.send("hi")
        return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("sink")}

    events = asyncio.new_event_loop()
    assert events.run_until_complete(main()) == set()
    events.run_until_complete(loop.aclose())
    events.close()


WHO = contextvars.ContextVar[str]("WHO")


async def test_a_sink_works_in_no_turns_context(tmp_path: Path) -> None:
    """It hears several: the context of whichever came first would be wrong for the others."""
    found: list[str] = []

    class Looking(Listening):
        async def record(self, facts: Sequence[f.Fact]) -> None:
            found.append(WHO.get("nobody"))

    async with StatefulAgentLoop(llm=ScriptedLLM(["a"]), db_path=tmp_path / "a.db", sinks=[Looking()]) as loop:
        WHO.set("the caller")
        await loop.send("hi")
    assert found == ["nobody", "nobody"]


async def test_a_sink_is_not_blamed_for_an_event_loop_that_others_block(told: Callable[[], list[str]]) -> None:
    class Reading(Listening):
        async def record(self, facts: Sequence[f.Fact]) -> None:
            await asyncio.sleep(0.001)
            await super().record(facts)

    sink = Reading()
    listeners = Listeners([sink], SinkLimits(record_seconds=0.1))
    await listeners.record([cancelled(1)])
    await asyncio.sleep(0)
    block(0.3)
    await listeners.caught_up()
    assert (len(sink.facts), told()) == (1, [])
    await listeners.aclose()


def block(seconds: float) -> None:
    """Block this thread, and the event loop in it."""
    threading.Event().wait(seconds)


@pytest.mark.parametrize("value", [0, -1, True, None, "1", math.nan])
@pytest.mark.parametrize("name", ["queued_facts", "record_seconds", "turn_seconds", "close_seconds"])
def test_a_limit_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"sink_limits.{name} is .*: give a number above 0"):
        SinkLimits(**{name: value})


def test_limits_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sink_limits is 5"):
        StatefulAgentLoop(db_path=tmp_path / "a.db", sink_limits=5)  # type: ignore[arg-type]
