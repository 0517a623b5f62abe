"""What a removed guard showed to be untested: what is on disk at which instant, and what others did meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client.errors import ModelServerError
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest, Usage
from power_loop import ModelError, SessionBusyError, Status, Tool, ToolContext, tool
from power_loop.engine import facts as f
from power_loop.errors import SessionClosedError
from power_loop.tools import Done
from tests.loop.kit import crashed, dump, history_is_valid, open_loop, shown, stuck_in, until, valid


class Work:
    """Tools that run until they are stopped, so often in all; and which calls entered them."""

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self.ran: list[str] = []
        self.entered = asyncio.Event()

    def is_set(self) -> bool:
        """A stop event: set once a tool runs."""
        return self.entered.is_set()

    def tool(self, name: str, effect: Any = "once", **more: Any) -> Tool:
        async def run(context: ToolContext) -> str:
            """Runs until it is stopped."""
            self.ran.append(context.call_id)
            if len(self.ran) > self.most:
                return "once too often"
            self.entered.set()
            await asyncio.Event().wait()
            return "never"

        return tool(run, name=name, effect=effect, **more)


async def stopped_in(folder: Path, *tools: Tool, work: Work) -> None:
    """A session whose turn was stopped while it ran all these tools at once."""
    async with open_loop(folder, [calls(*((one.name, {}) for one in tools))], tools=tools) as loop:
        await loop.create_session("s")
        assert (await loop.send("go", "s", stop_event=work)).status is Status.STOPPED


@pytest.mark.acceptance("B1", "A1")
async def test_all_results_are_on_disk_before_what_the_model_says_of_them_is_acted_on(tmp_path: Path) -> None:
    """The model is asked while they are on their way; nothing else happens before they are there."""
    states: list[str] = []

    @tool(effect="read")
    async def look() -> str:
        """Looks."""
        return "seen"

    @tool(effect="once")
    async def act() -> str:
        """Acts."""
        states.extend(str(call.state) for call in await loop.get_calls("s"))
        return "done"

    script = [calls(("look", {}), ("look", {})), calls(("act", {})), "done"]
    loop = open_loop(tmp_path, script, tools=[look, act])
    async with loop:
        await loop.create_session("s")
        await loop.send("go", "s")
    assert states == ["succeeded", "succeeded", "started"]


@pytest.mark.acceptance("B2")
async def test_what_is_known_by_now_is_on_disk_before_a_tool_is_asked(tmp_path: Path) -> None:
    """Of two calls in doubt the first is reported; then the second's tool is asked, which may take long."""
    states: list[str] = []

    async def what_became(context: ToolContext, arguments: dict[str, Any]) -> Done:
        states.extend(str(call.state) for call in await loop.get_calls("s"))
        return Done("sent")

    work = Work(most=2)
    pay, mail = work.tool("pay", parallel=True), work.tool("mail", parallel=True, reconcile=what_became)
    await stopped_in(tmp_path, pay, mail, work=work)
    assert len(work.ran) == 2
    llm = ScriptedLLM(["went on"])
    loop = open_loop(tmp_path, llm, tools=[pay, mail])
    async with loop:
        assert (await loop.resume("s")).final_text == "went on"
    assert states == ["reported", "started"]
    assert shown(llm.requests[0])[-1] == "tool: sent"
    assert len(work.ran) == 2


@pytest.mark.acceptance("B2", "B10")
async def test_a_call_of_a_tool_that_is_once_by_now_is_not_repeated(tmp_path: Path) -> None:
    work = Work()
    await stopped_in(tmp_path, work.tool("pay", "idempotent"), work=work)
    llm = ScriptedLLM(["went on"])
    async with open_loop(tmp_path, llm, tools=[work.tool("pay", "once")]) as loop:
        assert (await loop.resume("s")).final_text == "went on"
    assert len(work.ran) == 1
    assert "[outcome unknown]" in shown(llm.requests[0])[-1]


@pytest.mark.acceptance("B2")
async def test_a_persons_retry_allows_one_attempt(tmp_path: Path) -> None:
    """The attempt that was allowed is cut off too: whether to try once more is for somebody to say again."""
    work = Work(most=2)
    pay = work.tool("pay")
    await stopped_in(tmp_path, pay, work=work)
    llm = ScriptedLLM(["went on"])
    async with open_loop(tmp_path, llm, tools=[pay]) as loop:
        [call] = await loop.get_pending("s")
        work.entered.clear()
        again = await loop.resume("s", decisions={call.id: "retry"}, stop_event=work)
        assert (again.status, len(work.ran)) == (Status.STOPPED, 2)
        assert (await loop.resume("s")).final_text == "went on"
    assert len(work.ran) == 2
    assert "[outcome unknown]" in shown(llm.requests[0])[-1]


@pytest.mark.acceptance("B3", "D1")
async def test_what_others_gave_up_is_seen_by_a_loop_that_remembers_the_session(tmp_path: Path) -> None:
    work = Work()
    llm = ScriptedLLM([calls(("pay", {})), "went on"])
    async with (
        open_loop(tmp_path, llm, tools=[work.tool("pay")]) as loop,
        open_loop(tmp_path) as other,
    ):
        await loop.create_session("s")
        assert (await loop.send("go", "s", stop_event=work)).status is Status.STOPPED
        assert len(await other.abort_pending("s", reason="too late")) == 1
        assert (await loop.send("and now?", "s")).final_text == "went on"
        assert valid(*llm.requests)
        assert "too late" in shown(llm.requests[1])[-2]
        assert await history_is_valid(loop, "s")


@pytest.mark.acceptance("D1")
async def test_force_robs_no_turn_of_this_process(tmp_path: Path) -> None:
    release, entered = asyncio.Event(), asyncio.Event()

    async def model(request: ChatRequest) -> str:
        entered.set()
        await until(release)
        return "done"

    async with open_loop(tmp_path, [model]) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, entered):
            before = dump(tmp_path)
            with pytest.raises(SessionBusyError):
                await loop.abort_pending("s", force=True)
            assert dump(tmp_path) == before
            release.set()
        assert (await sending).final_text == "done"


@pytest.mark.acceptance("B5")
async def test_a_request_answered_by_a_resume_is_not_confused_with_what_came_later(tmp_path: Path) -> None:
    """Its first turn died, a resume answered it, and a later input was stopped: sent again it is still answered."""
    await crashed(tmp_path, "s")
    work = Work()
    llm = ScriptedLLM(["answered", calls(("pay", {}))])
    async with open_loop(tmp_path, llm, tools=[work.tool("pay")]) as loop:
        answered = await loop.resume("s")
        assert (await loop.send("pay", "s", stop_event=work)).status is Status.STOPPED
        before = dump(tmp_path)
        again = await loop.send("first", "s", request_id="r")
        assert (again.final_text, again.turn) == ("answered", answered.turn)
        assert dump(tmp_path) == before


@pytest.mark.acceptance("B4")
async def test_what_was_cut_off_in_a_session_that_is_closed_stays_so(tmp_path: Path) -> None:
    await crashed(tmp_path, "s")
    async with open_loop(tmp_path, ["never"]) as loop:
        await loop.close_session("s")
        before = dump(tmp_path)
        with pytest.raises(SessionClosedError):
            await loop.resume("s")
        assert dump(tmp_path) == before


@pytest.mark.acceptance("E1")
async def test_a_fresh_process_folds_nothing_before_the_provider_has_counted_again(tmp_path: Path) -> None:
    long = "a long story about nothing much, told twice. " * 10
    full = {"context_window": 1000, "compact_at": 0.8}
    script = [long, "the story so far", ModelServerError("down")]
    counted = Usage(prompt_tokens=900, completion_tokens=10)
    llm = ScriptedLLM(script, usage=lambda request, answer: counted)
    async with open_loop(tmp_path, llm, **full) as loop:
        await loop.create_session("s")
        await loop.send(f"first {long}", "s")
        with pytest.raises(ModelError):
            await loop.send("second " + long, "s")
        assert [call.purpose for call in await loop.get_usage("s")] == ["answer", "summary"]
    async with open_loop(tmp_path, ["done"], **full) as fresh:
        events = [event async for event in fresh.stream("third", "s")]
    assert not [event for event in events if isinstance(event, f.HistoryCompacted | f.CompactionFailed)]
