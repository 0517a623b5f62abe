"""Bad input: a typed error with a documented code, and not a byte of the database is another."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llm_client.messages import AssistantMessage, RefusalPart, SystemMessage, TextPart, UserMessage
from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, ConfigError, JsonlSink, PowerLoopError, StatefulAgentLoop, ToolRegistry, tool
from power_loop.errors import InputInvalidError, LoopClosedError
from tests.loop.kit import ROOT, crashed, dump, open_loop

CODES = set(re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE))
HALF = "cut \ud83d"
DEEP: Any = []
for _ in range(5000):
    DEEP = [DEEP]
CIRCLE: dict[str, Any] = {}
CIRCLE["me"] = CIRCLE


@tool
async def work() -> str:
    """Works."""
    raise AssertionError("nothing may run")


INPUTS: list[Any] = [
    "",
    " \n\t",
    None,
    5,
    b"bytes",
    HALF,
    [],
    {},
    [5],
    ["text"],
    [{"type": "text"}],
    [{"type": "text", "text": " "}],
    [{"type": "text", "text": 5}],
    [{"type": "text", "text": HALF}],
    [{"type": "text", "text": "a", "more": object()}],
    [{"type": "file", "file": {"deep": DEEP}}],
    [{"type": "picture", "url": "x"}],
    [{"type": "image_url", "image_url": "x"}],
    [{"type": "refusal", "refusal": "no"}],
    [RefusalPart(refusal="no")],
    [TextPart(text="")],
    {"role": "assistant", "content": "hi"},
    {"role": "system", "content": "hi"},
    {"role": ["user"], "content": "hi"},
    {"role": "user", "content": "hi", "unknown": 1},
    {"role": "user", "content": "hi", "name": "two words"},
    {"role": "user", "content": "hi", "name": ""},
    {"content": HALF},
    UserMessage(content=""),
    UserMessage(content="hi", name="a<b"),
    AssistantMessage(content="hi"),
    SystemMessage(content="hi"),
    object(),
]
IDS: list[Any] = ["", "x" * 201, HALF, "nul\0", 5, None, b"s", ["s"]]
METADATA: list[Any] = [5, "text", [1], {1: 2}, {"a": object()}, {"a": float("inf")}, {"a": HALF}, {"a": DEEP}, CIRCLE]
EVENTS: list[Any] = [5, "stop", object(), asyncio.Event]

Loop = StatefulAgentLoop
Case = tuple[str, Callable[[Loop], Awaitable[Any]], str]


async def streamed(loop: Loop, *what: Any, **how: Any) -> None:
    async for _ in loop.stream(*what, **how):
        raise AssertionError("an event came")


def cases() -> list[Case]:
    """A name, a call, and the code of what it raises."""
    invalid = "input.invalid"
    found: list[Case] = []

    def add(name: str, call: Callable[[Loop], Awaitable[Any]], code: str = invalid) -> None:
        found.append((name, call, code))

    for n, bad in enumerate(INPUTS):
        add(f"send input {n}", lambda loop, bad=bad: loop.send(bad, "idle"))
        add(f"send new {n}", lambda loop, bad=bad: loop.send(bad))
    add("stream input", lambda loop: streamed(loop, ""))
    by_id: dict[str, Callable[[Loop, Any], Awaitable[Any]]] = {
        "send": lambda loop, id: loop.send("hi", id),
        "stream": lambda loop, id: streamed(loop, "hi", id),
        "resume": lambda loop, id: loop.resume(id),
        "abort": lambda loop, id: loop.abort_pending(id),
        "resolve": lambda loop, id: loop.resolve(id, "call", "x"),
        "stop": lambda loop, id: loop.request_stop(id),
        "get": lambda loop, id: loop.get_session(id),
        "messages": lambda loop, id: loop.get_messages(id),
        "pending": lambda loop, id: loop.get_pending(id),
        "calls": lambda loop, id: loop.get_calls(id),
        "turns": lambda loop, id: loop.get_turns(id),
        "usage": lambda loop, id: loop.get_usage(id),
        "archive": lambda loop, id: loop.archive_session(id),
        "close": lambda loop, id: loop.close_session(id),
        "delete": lambda loop, id: loop.delete_session(id),
        "find": lambda loop, id: loop.find_session(id),
        "create": lambda loop, id: loop.create_session(id),
        "parent": lambda loop, id: loop.create_session(parent=id),
        "list": lambda loop, id: loop.list_sessions(parent=id),
    }
    for what, call in by_id.items():
        for n, bad in enumerate(IDS):
            if bad is not None or what not in ("send", "stream", "create", "parent", "list"):
                add(f"{what} id {n}", lambda loop, call=call, bad=bad: call(loop, bad))
        if what not in ("create", "list"):
            add(f"{what} unknown", lambda loop, call=call: call(loop, "nobody"), "session.not_found")
    for what in ("send", "stream", "resume"):
        add(f"{what} closed", lambda loop, call=by_id[what]: call(loop, "closed"), "session.closed")
        add(f"{what} archived", lambda loop, call=by_id[what]: call(loop, "archived"), "session.archived")
    add("send pending", lambda loop: loop.send("hi", "pending"), "session.pending")
    add("create taken", lambda loop: loop.create_session("idle"), "session.exists")
    add("create below closed", lambda loop: loop.create_session(parent="closed"), "session.closed")
    add("find ambiguous", lambda loop: loop.find_session("i"), "session.ambiguous")
    for n, bad in enumerate(METADATA):
        add(f"send metadata {n}", lambda loop, bad=bad: loop.send("hi", "idle", metadata=bad))
        add(f"create metadata {n}", lambda loop, bad=bad: loop.create_session(metadata=bad))
    for bad in ("", "x" * 201, HALF, 5, b"r"):
        add(f"request id {bad!r:.9}", lambda loop, bad=bad: loop.send("hi", "idle", request_id=bad))
        add(f"model {bad!r:.9}", lambda loop, bad=bad: loop.create_session(model=bad))
        add(f"reason {bad!r:.9}", lambda loop, bad=bad: loop.abort_pending("pending", reason=bad))
        add(f"stop reason {bad!r:.9}", lambda loop, bad=bad: loop.request_stop("pending", reason=bad))
        add(f"call id {bad!r:.9}", lambda loop, bad=bad: loop.resolve("pending", bad, "x"))
    for bad in ("", "later", 5, None, ["raise"]):
        add(f"on_pending {bad!r}", lambda loop, bad=bad: loop.send("hi", "idle", on_pending=bad))
        add(f"if_busy {bad!r}", lambda loop, bad=bad: loop.send("hi", "idle", if_busy=bad))
        add(f"resume if_busy {bad!r}", lambda loop, bad=bad: loop.resume("pending", if_busy=bad))
        add(f"recover {bad!r}", lambda loop, bad=bad: loop.recover(bad))
        if bad is not None:
            add(f"in_doubt {bad!r}", lambda loop, bad=bad: loop.resume("pending", in_doubt=bad))
    for n, bad in enumerate(EVENTS):
        add(f"stop event {n}", lambda loop, bad=bad: loop.send("hi", "idle", stop_event=bad))
        add(f"resume stop event {n}", lambda loop, bad=bad: loop.resume("pending", stop_event=bad))
    for n, bad in enumerate((5, "retry", ["c"], {5: "retry"}, {"call_0": "again"}, {"call_0": None}, {"": "retry"})):
        add(f"decisions {n}", lambda loop, bad=bad: loop.resume("pending", decisions=bad))
    add("decision unknown", lambda loop: loop.resume("pending", decisions={"nope": "retry"}), "call.not_found")
    add("decision never ran", lambda loop: loop.resume("pending", decisions={"call_2": "retry"}), "call.settled")
    add("decision settled", lambda loop: loop.resume("pending", decisions={"call_0": "retry"}), "call.not_found")
    add("resolve nothing", lambda loop: loop.resolve("pending", "call_1"))
    add("resolve two", lambda loop: loop.resolve("pending", "call_1", "x", error="y"))
    add("resolve odd", lambda loop: loop.resolve("pending", "call_1", "x", retry="yes"))  # type: ignore[arg-type]
    add("resolve error", lambda loop: loop.resolve("pending", "call_1", error=""))
    add("resolve error type", lambda loop: loop.resolve("pending", "call_1", error=5))  # type: ignore[arg-type]
    add("resolve unknown", lambda loop: loop.resolve("pending", "nope", "x"), "call.not_found")
    add("resolve never ran", lambda loop: loop.resolve("pending", "call_2", "x"), "call.settled")
    add("resolve settled", lambda loop: loop.resolve("pending", "call_0", "x"), "call.settled")
    for bad in ("", " ", HALF, 5):
        add(f"prompt {bad!r:.9}", lambda loop, bad=bad: loop.create_session(system_prompt=bad))
    for bad in (0, -1, 10_001, "5", None, True, 2.5):
        add(f"limit {bad!r}", lambda loop, bad=bad: loop.list_sessions(limit=bad))
    add("before", lambda loop: loop.list_sessions(before="idle"))  # type: ignore[arg-type]
    for bad in (-1, "1", True, 2**70, 1.5):
        add(f"usage turn {bad!r}", lambda loop, bad=bad: loop.get_usage("idle", turn=bad))
    for bad in (-1, "soon", None, float("nan"), float("inf"), True):
        add(f"drain {bad!r}", lambda loop, bad=bad: loop.aclose(drain=bad))
    return found


CASES = cases()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a session of each kind: idle, pending, closed, archived."""
    folder = tmp_path_factory.mktemp("bad")

    async def make() -> None:
        await crashed(folder, "pending", "a", "die", "b")
        async with open_loop(folder, ["hello"]) as loop:
            for session in ("idle", "idler", "closed", "archived"):
                await loop.create_session(session)
            await loop.send("hi", "idle")
            await loop.close_session("closed")
            await loop.archive_session("archived")

    asyncio.run(make())
    return folder


@pytest.mark.acceptance("L7")
async def test_bad_input_is_refused_and_changes_nothing(made: Path) -> None:
    """All cases in one loop, so that each also shows that the one before left it usable."""
    llm = ScriptedLLM(["never"])
    wrong = []
    async with open_loop(made, llm, tools=[work]) as loop:
        before = dump(made)
        for name, call, code in CASES:
            try:
                await call(loop)
            except PowerLoopError as error:
                if error.code != code or code not in CODES or not str(error):
                    wrong.append(f"{name}: {error.code} instead of {code}: {error}")
            except Exception as error:  # noqa: BLE001 - that is what the test is for
                wrong.append(f"{name}: {type(error).__name__} leaves the API: {error}")
            else:
                wrong.append(f"{name}: nothing was raised")
            if dump(made) != before:
                wrong.append(f"{name}: something was written")
                before = dump(made)
    assert wrong == []
    assert llm.requests == []
    assert len(CASES) > 200


@pytest.mark.acceptance("L7")
def test_an_error_says_what_is_wrong_and_the_way_out() -> None:
    with pytest.raises(InputInvalidError) as caught:
        asyncio.run(open_loop(Path("/nowhere"), ["never"]).send([]))
    assert (caught.value.what, caught.value.problem) == ("user_input", "is empty")
    assert caught.value.way_out in str(caught.value)


CONFIGS: list[dict[str, Any]] = [
    {"max_rounds": 0},
    {"max_rounds": -1},
    {"max_rounds": "many"},
    {"max_rounds": 1.5},
    {"context_window": 10},
    {"context_window": 1000, "max_reply_tokens": 1000},
    {"context_window": 1000, "max_reply_tokens": 2000},
    {"max_reply_tokens": 0},
    {"compact_at": 0},
    {"compact_at": 1.5},
    {"compact_at": float("nan")},
    {"temperature": -1},
    {"temperature": float("inf")},
    {"tool_timeout": 0},
    {"tool_timeout": float("inf")},
    {"summary_timeout": 0},
    {"summary_timeout": float("nan")},
    {"in_doubt": "guess"},
    {"synchronous": "OFF"},
    {"busy_timeout": -1},
    {"busy_timeout": float("inf")},
    {"warm_sessions": -1},
    {"system_prompt": ""},
    {"system_prompt": " "},
    {"system_prompt": HALF},
    {"system_prompt": 5},
    {"extra": 5},
    {"extra": {"x": object()}},
    {"extra": {"x": float("nan")}},
    {"extra": {"x": HALF}},
    {"extra": {"x": DEEP}},
    {"unknown_setting": 1},
]


@pytest.mark.acceptance("L7")
@pytest.mark.parametrize("settings", CONFIGS, ids=lambda settings: f"{next(iter(settings))}")
def test_a_config_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        AgentLoopConfig(**settings)
    assert caught.value.code == "config.invalid"
    assert next(iter(settings)) in str(caught.value) or "max_reply_tokens" in str(caught.value)


@pytest.mark.acceptance("L7")
def test_a_config_tells_all_that_is_wrong_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        AgentLoopConfig(max_rounds=0, compact_at=7, temperature="hot")
    assert len(caught.value.problems) == 3
    for word in ("max_rounds", "compact_at", "temperature"):
        assert word in str(caught.value)


PARTS: list[dict[str, Any]] = [
    {},
    {"db_path": "a.db", "store": object()},
    {"store": object()},
    {"db_path": "a.db", "llm": "gpt"},
    {"db_path": "a.db", "llm": ScriptedLLM},
    {"db_path": "a.db", "config": {"max_rounds": 3}},
    {"db_path": "a.db", "config": AgentLoopConfig},
    {"db_path": "a.db", "sinks": JsonlSink("x")},
    {"db_path": "a.db", "sinks": [5]},
    {"db_path": "a.db", "sinks": [JsonlSink]},
    {"db_path": "a.db", "world": 5},
]


@pytest.mark.acceptance("L7")
@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: " ".join(parts))
def test_a_loop_of_wrong_parts_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StatefulAgentLoop(**parts)


@pytest.mark.acceptance("L7", "H1")
@pytest.mark.parametrize("tools", [[work, work], [print], [len, work], work, 5, "work", [None], [ToolRegistry()]])
def test_tools_that_are_none_are_refused(tmp_path: Path, tools: Any) -> None:
    with pytest.raises(PowerLoopError) as caught:
        StatefulAgentLoop(db_path=tmp_path / "agent.db", tools=tools)
    assert caught.value.code == "tool.invalid"


@pytest.mark.acceptance("L7")
@pytest.mark.parametrize("path", ["", ":memory:", "file:a.db", "nul\0", "missing/folder/a.db", "."])
async def test_a_path_that_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    loop = StatefulAgentLoop(llm=ScriptedLLM(["never"]), db_path=path)
    with pytest.raises(PowerLoopError) as caught:
        await loop.send("hi")
    assert caught.value.code in CODES
    assert caught.value.code.startswith("store.")
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


@pytest.mark.acceptance("L7")
async def test_a_closed_loop_says_so(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, ["never"])
    await loop.aclose()
    await loop.aclose()
    for call in (loop.send("hi"), loop.list_sessions(), loop.get_session("s"), loop.recover(), loop.resume("s")):
        with pytest.raises(LoopClosedError):
            await call


@pytest.mark.acceptance("L7")
async def test_a_loop_of_another_event_loop_says_so(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, ["hello"])
    await loop.send("hi")

    def elsewhere() -> str:
        with pytest.raises(LoopClosedError) as caught:
            asyncio.run(loop.list_sessions())  # type: ignore[arg-type]
        return caught.value.code

    assert await asyncio.to_thread(elsewhere) == "loop.closed"
    await loop.aclose()
