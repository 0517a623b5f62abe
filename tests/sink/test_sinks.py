"""Sinks: the store decides, the others listen, and none of them can do harm."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import EpochLostError, JsonlSink, NullSink, StatefulAgentLoop, StoreSink, TeeSink, open_store, tool
from power_loop.engine import facts as f
from power_loop.store.contract import Begun, Input, NewSession
from power_loop.values import SessionId
from tests.store.kit import child, dump, says, tell

S = SessionId("s")
CANCELLED = f.TurnCancelled(session=S, turn=1, status="cancelled", stop_reason="enough \N{GRINNING FACE}\n\x00")


class Broken:
    """Fails at each fact, or from the nth on."""

    def __init__(self, after: int = 0) -> None:
        self.left, self.heard, self.closed = after, 0, False

    async def record(self, facts: Sequence[f.Fact]) -> None:
        self.heard += 1
        await asyncio.sleep(0)
        if not self.left:
            raise OSError("the pipe is broken")
        self.left -= 1

    async def aclose(self) -> None:
        self.closed = True
        raise OSError("it cannot even be closed")


class Listening:
    def __init__(self) -> None:
        self.facts: list[f.Fact] = []

    async def record(self, facts: Sequence[f.Fact]) -> None:
        self.facts += facts

    async def aclose(self) -> None:
        return None


@pytest.mark.acceptance("A1")
async def test_a1_a_store_sink_has_facts_on_disk_when_it_returns_and_refuses_those_of_a_lost_claim(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path)
    await store.create_session(NewSession(id=S))
    begun = await store.begin_turn(Input(session=S, body='{"role":"user","content":"hi"}'))
    assert isinstance(begun, Begun)
    sink = StoreSink(store, begun.claim)
    before = dump(path)
    await sink.record([f.TurnBegan(session=S, turn=1, origin=1, request_id=None, input=())])
    assert dump(path) == before  # the claim had committed that
    await sink.record([CANCELLED])
    assert dump(path)["turns"][0][5] == "cancelled"
    again = await store.begin_turn(Input(session=S, body='{"role":"user","content":"hi"}'))
    assert isinstance(again, Begun)
    before = dump(path)
    with pytest.raises(EpochLostError):
        await sink.record([CANCELLED])
    assert dump(path) == before
    await sink.aclose()
    assert (await store.session_info(S)).turns == 2  # the store is still open: it is not the sink's
    await store.aclose()


async def test_a_null_sink_keeps_nothing() -> None:
    sink = NullSink()
    await sink.record([CANCELLED])
    await sink.aclose()


@pytest.mark.acceptance("G3")
async def test_g3_a_second_sink_that_fails_is_logged_and_dropped_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @tool
    def work() -> str:
        """Works."""
        ran.append(1)
        return "done"

    broken, late, listening = Broken(), Broken(after=2), Listening()
    llm = ScriptedLLM([calls(("work", {})), "finished"])
    path = tmp_path / "agent.db"
    with caplog.at_level(logging.ERROR, "power_loop.sink"):
        async with StatefulAgentLoop(llm=llm, db_path=path, tools=[work], sinks=[broken, late, listening]) as loop:
            await loop.create_session("s")
            result = await loop.send("go", "s")
            assert result.final_text == "finished"
            assert [message.role for message in await loop.get_messages("s")] == [
                "user",
                "assistant",
                "tool",
                "assistant",
            ]
    assert ran == [1]
    assert broken.heard == 1
    assert late.heard == 3
    kinds = [type(fact).__name__ for fact in listening.facts]
    assert kinds == [
        "TurnBegan", "CallsRequested", "CallsStarted", "CallSettled", "RoundClosed", "AnswerReceived",
    ]  # fmt: skip
    assert sum("is dropped" in record.message for record in caplog.records) == 2


@pytest.mark.acceptance("G3")
async def test_g3_what_the_first_sink_refuses_the_others_never_hear() -> None:
    listening = Listening()
    with pytest.raises(OSError, match="broken"):
        await TeeSink(Broken(), listening).record([CANCELLED])
    assert listening.facts == []


@pytest.mark.acceptance("G3")
async def test_g3_a_sink_that_fails_for_two_sessions_at_once_is_dropped_once(caplog: pytest.LogCaptureFixture) -> None:
    first, broken = Listening(), Broken()
    tee = TeeSink(first, broken)
    with caplog.at_level(logging.CRITICAL, "power_loop.sink"):
        await asyncio.gather(tee.record([CANCELLED]), tee.record([CANCELLED]))
        await tee.record([CANCELLED])
    assert (len(first.facts), broken.heard) == (3, 2)


@pytest.mark.acceptance("G3")
async def test_g3_closing_reaches_every_sink(caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = Broken(), Broken(), Broken()
    with caplog.at_level(logging.CRITICAL, "power_loop.sink"), pytest.raises(OSError, match="closed"):
        await TeeSink(first, second, third).aclose()
    assert first.closed
    assert second.closed
    assert third.closed


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


async def test_a_jsonl_sink_writes_a_line_a_fact_into_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    sink = JsonlSink(path)
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=tmp_path / "agent.db", sinks=[sink]) as loop:
        await loop.create_session("s")
        await loop.send("hi\u2028\x00 \N{GRINNING FACE}", "s")
    began, received = lines(path)
    assert (began["fact"], began["session"], began["turn"]) == ("TurnBegan", "s", 1)
    assert json.loads(began["input"][0]["body"])["content"] == "hi\u2028\x00 \N{GRINNING FACE}"  # type: ignore[index]
    assert (received["fact"], received["status"]) == ("AnswerReceived", "completed")
    assert mode_of(path) == 0o600


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_jsonl_sink_keeps_lines_of_many_sessions_whole(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    sink = JsonlSink(path)
    descriptors = len(os.listdir("/proc/self/fd"))
    facts = [f.TurnFailed(session=SessionId(f"s{n}"), turn=n, error_code="x", error="y" * 20_000) for n in range(60)]
    await asyncio.gather(*(sink.record([fact, fact]) for fact in facts))
    assert len(os.listdir("/proc/self/fd")) == descriptors + 1
    await sink.aclose()
    written = lines(path)
    assert len(written) == 120
    assert all(one == other for one, other in zip(written[::2], written[1::2], strict=True))
    assert {entry["turn"] for entry in written} == set(range(60))


WRITER = """
from power_loop.engine import facts as f
async def main():
    sink = JsonlSink(sys.argv[1])
    fact = f.TurnFailed(session=sys.argv[2], turn=1, error_code="x", error=sys.argv[2] * 3000)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(200):
        await sink.record([fact])
    await sink.aclose()
    print("done", flush=True)
asyncio.run(main())
"""


async def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    with child(WRITER, path, "a") as a, child(WRITER, path, "b") as b:
        for process in (a, b):
            says(process, "ready")
        for process in (a, b):
            tell(process)
        for process in (a, b):
            says(process, "done")
    written = lines(path)
    assert len(written) == 400
    assert all(entry["error"] == str(entry["session"]) * 3000 for entry in written)


async def test_after_a_line_that_was_cut_by_a_kill_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    with open(path, "w") as file:  # noqa: ASYNC230
        file.write('{"fact": "TurnFa')
    for _ in range(2):
        sink = JsonlSink(path)
        await sink.record([CANCELLED])
        await sink.aclose()
    cut, *whole = path.read_text().splitlines()
    assert cut == '{"fact": "TurnFa'
    assert [json.loads(line)["stop_reason"] for line in whole] == [CANCELLED.stop_reason] * 2


async def test_a_jsonl_sink_that_cannot_write_is_dropped_and_the_turn_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = JsonlSink(tmp_path / "no" / "folder" / "facts.jsonl")
    with caplog.at_level(logging.ERROR, "power_loop.sink"):
        async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=tmp_path / "agent.db", sinks=[sink]) as loop:
            assert (await loop.send("hi")).final_text == "hello"
    assert "is dropped" in caplog.text
