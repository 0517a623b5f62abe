"""Large results: the model is shown a part and a handle; the whole is in the database, in the same commit."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from llm_client import ScriptedLLM
from llm_client.messages import AssistantMessage
from llm_client.scripted import calls
from llm_client.service import ChatRequest
from power_loop import (
    ConfigError,
    Done,
    InDoubt,
    JsonlSink,
    StatefulAgentLoop,
    ToolDefinitionError,
    tool,
)
from power_loop.loop.outputs import AT_ONCE
from power_loop.testing import ScriptedServer
from power_loop.tools import HeadAndTail
from tests.loop.kit import dump, history_is_valid, open_loop, service, until, valid
from tests.loop.large import LIMIT, giving, looked, offered, results

pytestmark = pytest.mark.acceptance("E7")


async def test_e7_the_model_is_shown_head_tail_and_handle_and_reads_the_rest_by_a_tool(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))

    def read(request: ChatRequest) -> AssistantMessage:
        handle = re.findall(r'recall_output\(handle="([\d.]+)", offset=\.\.\., limit=\.\.\.\)', results(request)[-1])[0]
        return calls(("recall_output", {"handle": handle, "offset": 4000, "limit": 300}))

    llm = ScriptedLLM([calls(("look", {})), read, "I saw it"])
    async with open_loop(tmp_path, llm, tools=[giving(text)], result_limit=LIMIT) as loop:
        await loop.create_session("s")
        await loop.send("look", "s")
        first, second, third = llm.requests
        assert offered(first) == ["look"]
        assert offered(second) == offered(third) == ["look", "recall_output"]
        shown, read_again = results(third)
        part, _, line = shown.rpartition("\n")
        assert len(part) <= LIMIT
        assert part.startswith("line 0\nline 1\n")
        assert part.endswith("line 999\n")
        assert f"{len(text):,} characters in all" in line
        assert read_again == text[4000:4300]
        assert await loop.recall_output("s", "1.3") == text
        assert valid(*llm.requests)
        assert await history_is_valid(loop, "s")
        [message] = [one for one in await loop.get_messages("s") if one.handle]
        assert (message.handle, message.seq) == ("1.3", 3)


async def test_e7_over_the_wire(tmp_path: Path) -> None:
    """The provider's own protocol takes the offered tool, and the model gets exactly what it asked for."""
    text = "\N{GRINNING FACE}e\u0301\x00 " * 20_000
    with ScriptedServer(
        [
            calls(("look", {}), ("look", {})),
            calls(("recall_output", {"handle": "1.4", "offset": 70_000, "limit": 20})),
            "done",
        ]
    ) as server:
        async with open_loop(tmp_path, service(server), tools=[giving(text)]) as loop:
            await loop.create_session("s")
            result = await loop.send("look", "s")
            assert result.final_text == "done"
            assert [m.text for m in await loop.get_messages("s")][5] == text[70_000:70_020]
            assert [m.handle for m in await loop.get_messages("s") if m.role == "tool"] == ["1.3", "1.4", None]


@pytest.mark.parametrize(
    "text",
    [
        "x" * (LIMIT + 1),
        "\N{GRINNING FACE}" * (LIMIT + 1),
        "\x00\u2028\ufeff\U0010ffff\n" * LIMIT,
        "x" * AT_ONCE,
        "x" * (AT_ONCE + 1),
        "".join(random.Random(7).choices("abc \n\u00e9\N{SNOWMAN}", k=300_000)),
        "x" * 5_000_000,
    ],
    ids=["one over", "one over, of 4 bytes", "odd characters", "64 K", "64 K and 1", "300 K of chance", "5 MB"],
)
async def test_e7_a_result_of_any_size_is_recalled_exactly_in_any_pieces(tmp_path: Path, text: str) -> None:
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving(text)], result_limit=LIMIT) as loop:
        shown = await looked(loop)
        assert len(shown) < LIMIT + 200
    async with StatefulAgentLoop(db_path=tmp_path / "agent.db") as loop:
        assert await loop.recall_output("s", "1.3") == text
        step = max(1, len(text) // 7)
        pieces = [await loop.recall_output("s", "1.3", offset=at, limit=step) for at in range(0, len(text), step)]
        assert "".join(pieces) == text
        assert await loop.recall_output("s", "1.3", offset=len(text)) == ""
        assert await loop.recall_output("s", "1.3", offset=2**80, limit=2**80) == ""
        assert await loop.recall_output("s", "1.3", limit=0) == ""


@pytest.mark.parametrize("text", ["", "x", "x" * LIMIT])
async def test_a_result_within_the_limit_is_shown_whole_and_recalled_from_its_message(
    tmp_path: Path, text: str
) -> None:
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving(text)], result_limit=LIMIT) as loop:
        assert await looked(loop) == text
        assert dump(tmp_path)["outputs"] == []
        assert await loop.recall_output("s", "1.3") == text


async def test_lone_surrogates_are_cleaned_before_anything_is_kept(tmp_path: Path) -> None:
    text = "\ud800x" * LIMIT
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving(text)], result_limit=LIMIT) as loop:
        assert "\ufffdx" in await looked(loop)
        assert await loop.recall_output("s", "1.3") == "\ufffdx" * LIMIT


async def test_calls_beside_each_other_have_a_handle_each(tmp_path: Path) -> None:
    @tool(effect="read")
    async def look(number: int) -> str:
        """Looks."""
        await asyncio.sleep(0.01 * (3 - number))
        return f"{number}" * (AT_ONCE + number)

    asked = calls(*(("look", {"number": number}) for number in range(4)))
    async with open_loop(tmp_path, [asked, "x"], tools=[look], result_limit=LIMIT) as loop:
        await loop.create_session("s")
        await loop.send("look", "s")
        for number in range(4):
            assert await loop.recall_output("s", f"1.{3 + number}") == f"{number}" * (AT_ONCE + number)


async def test_the_default_limit_is_half_the_windows_tokens_as_characters(tmp_path: Path) -> None:
    tools = [giving("x" * 2_000)]
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, context_window=4_000) as loop:
        assert await looked(loop) == "x" * 2_000
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, context_window=3_998) as loop:
        assert "2,000 characters in all" in await looked(loop, "t")


async def test_a_tool_says_how_its_own_results_are_shown(tmp_path: Path) -> None:
    rows = json.dumps([{"id": number, "name": "n" * 50} for number in range(400)])
    tools = [giving(rows, shorten="structured", result_limit=2_000)]
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, result_limit=100_000) as loop:
        part, _, _ = (await looked(loop)).rpartition("\n")
        shown = json.loads(part)
        assert shown[0] == {"id": 0, "name": "n" * 50}
        assert re.fullmatch(r"\[\.\.\. \d+ more items\]", shown[-1])
        assert await loop.recall_output("s", "1.3") == rows


async def test_none_shows_all_of_it(tmp_path: Path) -> None:
    tools = [giving("x" * 10_000, shorten="none")]
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, result_limit=LIMIT) as loop:
        assert await looked(loop) == "x" * 10_000
        assert dump(tmp_path)["outputs"] == []


class Raises:
    def shorten(self, text: str, limit: int) -> str:
        raise OSError("no")


class GivesBytes:
    def shorten(self, text: str, limit: int) -> Any:
        return text.encode()


class GivesMore:
    def shorten(self, text: str, limit: int) -> str:
        return text * 2


class Halves:
    def shorten(self, text: str, limit: int) -> str:
        return f"\ud800{text[:limit]}"


@pytest.mark.parametrize("broken", [Raises(), GivesBytes(), GivesMore()])
async def test_a_shortener_that_fails_loses_no_result(tmp_path: Path, broken: Any) -> None:
    text = "".join(map(str, range(10_000)))
    settings = {"result_limit": LIMIT, "result_shortener": broken}
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving(text)], **settings) as loop:
        assert (await looked(loop)).startswith(HeadAndTail().shorten(text, LIMIT) + "\n[Result 1.3 ")
        assert await loop.recall_output("s", "1.3") == text


async def test_what_a_shortener_says_is_cleaned_like_every_result(tmp_path: Path) -> None:
    settings = {"result_limit": LIMIT, "result_shortener": Halves()}
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=[giving("x" * 999)], **settings) as loop:
        assert (await looked(loop)).startswith("\ufffdxxx")


@pytest.mark.parametrize("given", ["middle", 7, None, HeadAndTail, object()])
def test_what_is_no_shortener_is_refused(tmp_path: Path, given: Any) -> None:
    with pytest.raises(ConfigError, match="result_shortener"):
        open_loop(tmp_path, result_shortener=given)
    if given is not None:
        with pytest.raises(ToolDefinitionError, match="shorten"):
            giving("x", shorten=given)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "many"])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, limit: Any) -> None:
    if limit is not True:
        with pytest.raises(ConfigError, match="result_limit"):
            open_loop(tmp_path, result_limit=limit)
    with pytest.raises(ToolDefinitionError, match="result_limit"):
        giving("x", result_limit=limit)


async def test_a_result_that_a_tool_reconciles_is_shown_in_short_too(tmp_path: Path) -> None:
    entered = asyncio.Event()

    @tool(reconcile=lambda context, arguments: Done("y" * 9_000))
    async def pay() -> str:
        """Pays."""
        entered.set()
        await asyncio.Event().wait()
        return ""

    async with open_loop(tmp_path, [calls(("pay", {})), "x"], tools=[pay], result_limit=LIMIT) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("pay", "s"))
        await until(entered)
        sending.cancel()
        await asyncio.wait([sending])
        await loop.resume("s")
        assert (await loop.get_messages("s"))[2].handle == "1.3"
        assert await loop.recall_output("s", "1.3") == "y" * 9_000


async def test_what_a_person_says_stays_as_it_was_said(tmp_path: Path) -> None:
    entered = asyncio.Event()

    @tool
    async def pay() -> str:
        """Pays."""
        entered.set()
        await asyncio.Event().wait()
        return ""

    settings = {"result_limit": LIMIT, "in_doubt": InDoubt.ASK}
    async with open_loop(tmp_path, [calls(("pay", {})), "x"], tools=[pay], **settings) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("pay", "s"))
        await until(entered)
        sending.cancel()
        await asyncio.wait([sending])
        await loop.resolve("s", "call_0", result="z" * 9_000)
        await loop.resume("s")
        assert (await loop.get_messages("s"))[2].text == "z" * 9_000


@pytest.mark.parametrize("whose", ["the caller's", "the turn's own"])
async def test_a_call_that_has_returned_is_not_lost_while_its_result_is_made_short(tmp_path: Path, whose: str) -> None:
    """Whichever task is cancelled meanwhile: it is settled, with its whole text, and never runs again."""
    shortening, go_on = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    class Slow:
        def shorten(self, text: str, limit: int) -> str:
            here.call_soon_threadsafe(shortening.set)
            asyncio.run_coroutine_threadsafe(until(go_on), here).result()
            return text[:limit]

    text = "x" * (AT_ONCE + 1)
    tools = [giving(text, effect="once", shorten=Slow())]
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, result_limit=LIMIT) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("look", "s"))
        await until(shortening)
        [own] = [task for task in asyncio.all_tasks() if task.get_name() == "turn of s"]
        (sending if whose == "the caller's" else own).cancel()
        await asyncio.sleep(0.3)  # longer than work that is given up gets
        go_on.set()
        if whose == "the caller's":
            with pytest.raises(asyncio.CancelledError):
                await sending
        else:
            assert (await sending).final_text == "x"  # the model answered before anything was left to stop
        [call] = await loop.get_calls("s")
        assert (call.state, call.attempt) == ("succeeded", 1)
        assert await loop.recall_output("s", "1.3") == text
        if whose == "the caller's":
            assert (await loop.resume("s")).final_text == "x"


@pytest.mark.parametrize("size", [AT_ONCE, AT_ONCE + 1])
async def test_a_long_result_is_made_short_beside_the_event_loop(tmp_path: Path, size: int) -> None:
    threads = []

    class Noting:
        def shorten(self, text: str, limit: int) -> str:
            threads.append(threading.current_thread())
            return text[:limit]

    tools = [giving("x" * size, shorten=Noting())]
    async with open_loop(tmp_path, [calls(("look", {})), "x"], tools=tools, result_limit=LIMIT) as loop:
        await looked(loop)
    [thread] = threads
    assert (thread is threading.main_thread()) == (size <= AT_ONCE)


async def test_a_listener_gets_the_whole_and_a_file_of_facts_its_size(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "facts.jsonl")
    text = "".join(map(str, range(50_000)))
    script = [calls(("look", {})), "x"]
    async with open_loop(tmp_path, script, tools=[giving(text)], sinks=[sink], result_limit=LIMIT) as loop:
        events = [event async for event in loop.stream("look")]
    [settled] = [event for event in events if type(event).__name__ == "CallSettled"]
    assert settled.output.text == text  # type: ignore[union-attr]
    lines = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    [told] = [line for line in lines if line["fact"] == "CallSettled"]
    assert told["output"] == {"characters": len(text), "data": {"bytes": len(settled.output.data)}}  # type: ignore[union-attr]
    assert (tmp_path / "facts.jsonl").stat().st_size < 10_000
