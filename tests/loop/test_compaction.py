"""A compaction inside a turn: when, what, and that the turn goes on whatever becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest, Usage
from power_loop import ModelError, StatefulResult, Status, tool
from power_loop.compaction.summary import INSTRUCTIONS, summary_request
from power_loop.engine import facts as f
from power_loop.errors import ContextOverflowError
from power_loop.loop.reopen import warmed
from power_loop.testing import Asked, Reply, ScriptedServer
from power_loop.transcript.measure import tokens
from power_loop.transcript.view import Entry
from tests.loop.kit import FOREVER, crashed, dump, history_is_valid, open_loop, service, shown, stuck_in, valid

BIG = Usage(prompt_tokens=900, completion_tokens=10)
"""Past the threshold of the loops below."""
SMALL = Usage(prompt_tokens=90, completion_tokens=10)
WINDOW: dict[str, Any] = {"context_window": 1000, "compact_at": 0.8}
LONG = "a long story about nothing much, told twice. " * 10


@tool(effect="read")
async def look() -> str:
    """Looks."""
    return f"seen: {LONG}"


class Model:
    """Answers from a script; sums up as told; reports the usage it is told to."""

    def __init__(self, *script: Any, summary: Any = "the story so far", usage: Usage | None = BIG) -> None:
        self.summaries: list[ChatRequest] = []
        self.asked: list[ChatRequest] = []
        self.usage = usage
        self._script, self._summary = list(script), summary
        self.llm = ScriptedLLM([self._said] * 50, usage=lambda request, answer: self.usage)

    def _said(self, request: ChatRequest) -> Any:
        if INSTRUCTIONS in request.messages[0]:
            self.summaries.append(request)
            return self._summary(request) if callable(self._summary) else self._summary
        self.asked.append(request)
        said = self._script.pop(0)
        if isinstance(said, Usage):
            self.usage = said
            said = self._script.pop(0)
        return said


async def grown(loop: Any) -> None:
    """A session with a story in it; its last answer was reported as `model.usage` says."""
    await loop.create_session("s", system_prompt="be good")
    await loop.send(f"first {LONG}", "s")
    await loop.send(f"second {LONG}", "s")


@pytest.mark.acceptance("E1", "E2", "E8")
async def test_history_is_folded_once_the_reported_usage_passes_the_threshold(tmp_path: Path) -> None:
    model = Model(SMALL, "one", BIG, f"two {LONG}", SMALL, "three")
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        assert model.summaries == []
        events = [event async for event in loop.stream("third", "s")]
        assert len(model.summaries) == 1
        folded = [event for event in events if isinstance(event, f.HistoryCompacted)]
        assert len(folded) == 1
        last = shown(model.asked[-1])
        assert last[0] == "system: be good"
        assert last[1] == "user: [Note on the conversation before this point]\nthe story so far"
        assert last[2:] == [f"assistant: two {LONG}", "user: third"]
        stored = await loop.get_messages("s", include_compacted=True)
        out = [message for message in stored if message.state == "compacted_out"]
        assert [message.text[:6] for message in out] == ["first ", "one", "second"]
        assert folded[0].folded == tuple(message.seq for message in out)
        assert [message.note for message in await loop.get_messages("s")] == [False, True, False, False, False]
        assert dump(tmp_path)["compactions"][0][6] == 3, "the row tells how many were folded"
        assert [call.purpose for call in await loop.get_usage("s")] == ["answer", "answer", "summary", "answer"]
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("E1")
async def test_it_happens_between_rounds_too_and_never_parts_a_call_from_its_result(tmp_path: Path) -> None:
    rounds = [calls(("look", {}), ("look", {})), calls(("look", {})), calls(("look", {}))]
    model = Model(SMALL, "one", BIG, *rounds, "done")
    async with open_loop(tmp_path, model.llm, tools=[look], **WINDOW) as loop:
        await loop.create_session("s")
        await loop.send("before", "s")
        result = await loop.send("look around", "s")
        assert result.final_text == "done"
        assert model.summaries
        assert valid(*model.asked, *model.summaries)
        for request in model.asked[-2:]:
            assert "user: look around" in shown(request), "the current request stays"
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("E1")
async def test_there_is_no_second_one_until_the_provider_has_counted_again(tmp_path: Path) -> None:
    model = Model(SMALL, "one", BIG, *(f"{word} {LONG}" for word in ("two", "three", "four")))
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        for text in ("third", "fourth"):
            events = [event async for event in loop.stream(f"{text} {LONG}", "s")]
            assert len([event for event in events if isinstance(event, f.HistoryCompacted)]) == 1, "once for each count"


@pytest.mark.acceptance("E1", "E6")
async def test_after_one_that_failed_the_next_waits_until_the_context_has_grown(tmp_path: Path) -> None:
    model = Model(SMALL, "one", BIG, *"23456", summary=ModelError("no"))
    failed = []
    async with open_loop(tmp_path, model.llm, context_window=1300, compact_at=0.7, compact_to=0.3) as loop:
        await grown(loop)
        for text in ("third", "fourth", f"fifth {LONG} {LONG[:200]}", "sixth"):
            events = [event async for event in loop.stream(text, "s")]
            failed.append(len([event for event in events if isinstance(event, f.CompactionFailed)]))
        assert failed == [1, 0, 1, 0]
        assert (await loop.get_session("s")).failed_compactions == 2


@pytest.mark.acceptance("E1")
async def test_a_small_history_is_left_alone(tmp_path: Path) -> None:
    model = Model(SMALL, "one", "two", "three")
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        await loop.send("third", "s")
        assert model.summaries == []


@pytest.mark.acceptance("E1")
async def test_where_nobody_counts_the_estimate_does(tmp_path: Path) -> None:
    model = Model("one", f"two {LONG * 4}", "three", usage=None)
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        assert model.summaries == []
        await loop.send("third", "s")
        assert len(model.summaries) == 1, "what the model itself said counts too"


@pytest.mark.acceptance("E1")
async def test_a_picture_is_no_reason_to_fold(tmp_path: Path) -> None:
    model = Model(SMALL, "one", "two", "a cat")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    async with open_loop(tmp_path, model.llm, context_window=8000) as loop:
        await grown(loop)
        await loop.send([{"type": "text", "text": "what is it?"}, picture], "s")
        assert model.summaries == []


@pytest.mark.acceptance("E2")
async def test_after_every_restart_the_model_sees_what_it_saw(tmp_path: Path, server: ScriptedServer) -> None:
    """The same turns through one loop, and through a fresh loop each: the requests are the same, byte for byte."""

    def reply(asked: Asked) -> Reply:
        if INSTRUCTIONS in asked.messages[0]["content"]:
            return Reply(text=f"a note of {len(asked.messages[1]['content'])} characters")
        tokens = 900 if asked.user % 2 else 100
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        if asked.round == 0:
            return Reply(calls=Reply.calling(("look", {})).calls, usage=usage)
        return Reply(text=f"answer {asked.user}", usage=usage)

    async def turns(folder: Path, fresh: bool) -> list[Any]:
        start = len(server.requests)
        loop = open_loop(folder, service(server), tools=[look], **WINDOW)
        await loop.create_session("s", system_prompt="be good")
        for number in range(6):
            if fresh:
                await loop.aclose()
                loop = open_loop(folder, service(server), tools=[look], **WINDOW)
            result = await loop.send(f"input {number} {LONG}", "s")
            assert result.status is Status.COMPLETED
        await loop.aclose()
        return [request.messages for request in server.requests[start:]]

    server.use(reply)
    for name in ("warm", "cold"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    warm = await turns(tmp_path / "warm", fresh=False)
    cold = await turns(tmp_path / "cold", fresh=True)
    summaries = [one for one in warm if INSTRUCTIONS in str(one[0]["content"])]
    assert len(summaries) >= 2, "a note was folded into a further note"
    texts = [str(one[-1]["content"]) for one in summaries]
    assert any("a note of" in text for text in texts)

    def without_ids(requests: list[Any]) -> list[Any]:
        return [
            [(message["role"], message.get("content"), bool(message.get("tool_calls"))) for message in messages]
            for messages in requests
        ]

    assert without_ids(cold) == without_ids(warm)


FAILURES: dict[str, Any] = {
    "raises": ModelError("no"),
    "breaks": ValueError("a bug"),
    "overflows": ContextOverflowError("too long"),
    "empty": AssistantMessage(content=" "),
    "calls a tool": calls(("look", {}), text="let me look"),
    "no shorter": "words " * 5000,
    "hangs": lambda _: asyncio.sleep(FOREVER, "late"),
}


@pytest.mark.acceptance("E6")
@pytest.mark.parametrize("how", [*FAILURES, "hangs and ignores it"])
async def test_a_summary_that_fails_changes_nothing(tmp_path: Path, how: str) -> None:
    over = asyncio.Event()

    async def stubborn(_: ChatRequest) -> str:
        while not over.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "late"

    model = Model(SMALL, "one", BIG, f"two {LONG}", "three", summary=FAILURES.get(how, stubborn))
    async with open_loop(tmp_path, model.llm, tools=[look], summary_timeout=0.1, **WINDOW) as loop:
        await grown(loop)
        before = shown(model.asked[-1])
        events: list[Any] = [event async for event in loop.stream("third", "s")]
        failed = [event for event in events if isinstance(event, f.CompactionFailed)]
        assert len(failed) == 1
        assert len(model.summaries) == 1 or how == "overflows", "then with less and less"
        assert failed[0].reason
        assert isinstance(events[-1], StatefulResult)
        assert events[-1].final_text == "three"
        assert shown(model.asked[-1]) == [*before, f"assistant: two {LONG}", "user: third"]
        rows = dump(tmp_path)
        assert rows["compactions"] == []
        assert await loop.get_messages("s") == await loop.get_messages("s", include_compacted=True)
        # A summary that was paid for is on the bill, of use or not.
        paid = how in ("empty", "calls a tool", "no shorter")
        usage = await loop.get_usage("s", turn=3)
        assert [call.purpose for call in usage] == (["summary", "answer"] if paid else ["answer"])
        assert events[-1].usage == usage.total
        over.set()


@pytest.mark.acceptance("E6")
async def test_where_the_window_is_really_full_what_needs_no_model_steps_in(tmp_path: Path) -> None:
    full = Usage(prompt_tokens=960, completion_tokens=10)
    model = Model(SMALL, "one", full, f"two {LONG}", SMALL, "three", summary=" ")
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        events = [event async for event in loop.stream("third", "s")]
        failed, folded = (e for e in events if isinstance(e, f.CompactionFailed | f.HistoryCompacted))
        assert isinstance(failed, f.CompactionFailed)
        assert failed.strategy == "summary"
        assert isinstance(folded, f.HistoryCompacted)
        assert (folded.strategy, folded.model) == ("keep_first_and_last", None)
        (done,) = await loop.get_compactions("s")
        assert (done.strategy, done.model) == ("keep_first_and_last", None)
        assert [call.purpose for call in await loop.get_usage("s")] == ["answer", "answer", "summary", "answer"]
        assert (await loop.get_session("s")).failed_compactions == 0
        assert shown(model.asked[-1])[-1] == "user: third"
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("C6", "E6")
async def test_a_turn_can_be_stopped_while_it_sums_up(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def hang(_: ChatRequest) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    model = Model(SMALL, "one", BIG, f"two {LONG}", "three", summary=hang)
    async with open_loop(tmp_path, model.llm, **WINDOW) as loop:
        await grown(loop)
        sending = asyncio.create_task(loop.send("third", "s"))
        async with stuck_in(sending, entered):
            await loop.request_stop("s")
        assert (await sending).status is Status.STOPPED
        assert dump(tmp_path)["compactions"] == []
        model._summary = "the story so far"
        assert (await loop.resume("s")).final_text == "three"
        assert len(dump(tmp_path)["compactions"]) == 1


@pytest.mark.acceptance("E2")
async def test_what_an_endpoint_wants_back_is_no_hindrance_to_a_summary(tmp_path: Path) -> None:
    """Its own words stand in the history it is sent; a summary of them reads what was said."""
    thinking = AssistantMessage(content=f"two {LONG}", provider={"reasoning_content": "let me think", "x": {"y": 1}})
    called = AssistantMessage(
        tool_calls=calls(("look", {})).tool_calls,
        provider={"tool_call_extras": [{"signature": "abc"}], "reasoning_content": "must look"},
    )
    model = Model(SMALL, called, "one", BIG, thinking, SMALL, "three", "four")
    model.llm._replay_reasoning = True
    async with open_loop(tmp_path, model.llm, tools=[look], **WINDOW) as loop:
        await grown(loop)
        assert (await loop.send("third", "s")).final_text == "three"
        assert len(model.summaries) == 1
        assert "(calls look {})" in model.summaries[0].messages[1]
        assert '"reasoning_content":"let me think"' in "".join(model.asked[-1].messages)
    async with open_loop(tmp_path, model.llm, tools=[look], **WINDOW) as later:
        await later.send("fourth", "s")
    assert model.asked[-1].messages[: len(model.asked[-2].messages)] == model.asked[-2].messages


@pytest.mark.acceptance("A5")
async def test_the_context_is_the_same_size_for_a_fresh_process(tmp_path: Path) -> None:
    """A turn that was cut off in its tools: what was counted, and what came since, are counted once."""
    await crashed(tmp_path, "s", "a", "a", "die")
    async with open_loop(tmp_path, ["never"]) as loop:
        conductor = await loop._open()
        begun: Any = await conductor.store.resume_turn("s", {})  # type: ignore[arg-type]
        history = await conductor.store.history("s")  # type: ignore[arg-type]
        results = [message for message in history.messages if message.role == "tool"]
        assert history.counted is not None
        since = sum(tokens(message.body) for message in results)
        assert warmed(begun, history, replay=False).context_tokens == history.counted + since
        conductor.store.release(begun.claim)


def test_a_summary_request_is_bounded_and_tells_what_was_called() -> None:
    entries = [
        Entry(place=1, seq=1, role="user", wire='{"role":"user","content":"hello"}'),
        Entry(
            place=2,
            seq=2,
            role="user",
            wire='{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"x"}}]}',
        ),
        Entry(place=3, seq=3, role="tool", wire='{"role":"tool","content":"' + "r" * 50_000 + '","tool_call_id":"c"}'),
        Entry(place=4, seq=4, role="assistant", wire='{"role":"assistant","content":null,"refusal":"I will not"}'),
    ]
    request = summary_request(entries, model="m", max_chars=20_000, max_tokens=77, extra={"seed": 1})
    _, text = shown(request)
    assert "user: hello" in text
    assert "see\n(image_url)" in text
    assert "assistant: I will not" in text
    assert len(text) < 9_000
    assert (request.model, request.max_tokens, request.tools, request.extra) == ("m", 77, (), {"seed": 1})
    assert len(shown(summary_request(entries, model=None, max_chars=100, max_tokens=77, extra={}))[1]) < 200
