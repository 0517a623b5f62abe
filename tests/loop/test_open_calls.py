"""Calls that a dead process left open: shown, refused, aborted, resumed, in one request that a provider takes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import (
    SessionBusyError,
    SessionPendingError,
    SessionState,
    StatefulAgentLoop,
    Status,
    Tool,
    tool,
)
from power_loop.errors import NotConfiguredError
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import (
    FOREVER,
    crashed,
    dump,
    history_is_valid,
    open_loop,
    output_of,
    python,
    service,
    shown,
    stuck_in,
    valid,
)

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def tools(**effects: Any) -> list[Tool]:
    """The tools of the crashed process, here with effects; each notes that it ran."""

    def made(name: str) -> Tool:
        async def run() -> str:
            """Runs."""
            RAN.append(name)
            return f"{name} done"

        return tool(run, name=name, effect=effects.get(name, "once"))

    return [made(name) for name in ("a", "die", "b")]


@pytest.mark.acceptance("B3")
@pytest.mark.parametrize("way", [[], ["a", "die", "b"], ["die"], ["a", "b", "die"]])
async def test_abort_answers_each_open_call_once_offline(
    tmp_path: Path, server: ScriptedServer, way: list[str]
) -> None:
    await crashed(tmp_path, "s", *way)
    async with StatefulAgentLoop(db_path=tmp_path / "agent.db", create=False) as offline:
        pending = await offline.get_pending("s")
        assert [call.name for call in pending] == (way[way.index("die") :] if way else [])
        aborted = await offline.abort_pending("s", reason="we moved on")
        assert aborted == [call.id for call in pending]
        assert await offline.get_pending("s") == []
        before = dump(tmp_path)
        assert await offline.abort_pending("s", reason="again") == []
        assert dump(tmp_path) == before, "with nothing open it changes nothing"
        results = {message.tool_call_id: message.text for message in await offline.get_messages("s")}
        for call in pending:
            ran = "It was started" if call.state == "in_doubt" else "It did not run."
            assert results[call.id].startswith(f"[aborted: we moved on] {ran}")
        (turn,) = await offline.get_turns("s")
        assert (turn.state, turn.stop_reason) == ("cancelled", "we moved on")
        assert (await offline.get_session("s")).state is SessionState.STOPPED
        with pytest.raises(NotConfiguredError):
            await offline.send("no model", "s")
    server.use([Reply(text="fine")])
    async with open_loop(tmp_path, service(server)) as loop:
        assert (await loop.send("go on", "s")).final_text == "fine"
        assert await history_is_valid(loop, "s")
    assert RAN == []


@pytest.mark.acceptance("B3")
async def test_abort_of_a_driven_session_changes_nothing(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    @tool
    async def hold() -> str:
        """Holds."""
        entered.set()
        await release.wait()
        return "held"

    async with (
        open_loop(tmp_path, [calls(("hold", {})), "done"], tools=[hold]) as loop,
        open_loop(tmp_path) as other,
    ):
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, entered):
            before = dump(tmp_path)
            for one in (loop, other):
                with pytest.raises(SessionBusyError) as caught:
                    await one.abort_pending("s")
                assert caught.value.code == "session.busy"
                assert caught.value.since is not None
                (call,) = await one.get_pending("s")
                assert call.state == "started", "it runs right now, and is not in doubt"
                for refused in (one.resolve("s", call.id, "x"), one.close_session("s"), one.delete_session("s")):
                    with pytest.raises(SessionBusyError):
                        await refused
                with pytest.raises(SessionBusyError):
                    await one.archive_session("s")
            assert dump(tmp_path) == before
            release.set()
        assert (await sending).final_text == "done"


ABORTER = """
import asyncio, sys
from power_loop import SessionBusyError, StatefulAgentLoop

async def main():
    async with StatefulAgentLoop(db_path=sys.argv[1], create=False) as loop:
        try:
            print(await loop.abort_pending("s"))
        except SessionBusyError as error:
            print(error.code)

asyncio.run(main())
"""


@pytest.mark.acceptance("B3")
async def test_another_process_cannot_abort_what_we_drive(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def model(request: object) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [model]) as loop:
        await loop.create_session("s")
        sending = asyncio.create_task(loop.send("go", "s"))
        async with stuck_in(sending, entered):
            before = dump(tmp_path)
            assert await output_of(python(ABORTER, tmp_path / "agent.db")) == "session.busy\n"
            assert dump(tmp_path) == before
            await loop.request_stop("s")
        assert (await sending).status is Status.STOPPED


@pytest.mark.acceptance("B1", "B7")
async def test_a_send_is_refused_with_the_calls_and_the_ways_out(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "a", "die", "b")
    async with open_loop(tmp_path, ["never"], tools=tools()) as loop:
        before = dump(tmp_path)
        with pytest.raises(SessionPendingError) as caught:
            await loop.send("hello?", "s")
        assert dump(tmp_path) == before
        error = caught.value
        assert (error.code, error.session_id) == ("session.pending", "s")
        listed = [(call.name, call.arguments, call.state) for call in error.calls]
        assert listed == [("die", "{}", "in_doubt"), ("b", "{}", "requested")]
        assert [(call.id, call.state) for call in error.calls] == [
            (call.id, call.state) for call in await loop.get_pending("s")
        ]
        for way in ("resume('s')", "abort_pending('s')", 'on_pending="resume"'):
            assert any(way in out for out in error.ways_out)
            assert way in str(error)


@pytest.mark.acceptance("B7")
async def test_on_pending_abort_puts_the_input_behind_the_aborted_results(
    tmp_path: Path, server: ScriptedServer
) -> None:
    await crashed(tmp_path, "s", "a", "die", "b")
    server.use([Reply(text="as you say")])
    async with open_loop(tmp_path, service(server), tools=tools()) as loop:
        result = await loop.send("forget it", "s", on_pending="abort")
        assert (result.final_text, result.turn) == ("as you say", 2)
    (request,) = server.requests
    told = [(message["role"], str(message["content"])[:14]) for message in request.messages]
    assert told == [
        ("user", "first"),
        ("assistant", "None"),
        ("tool", "a done"),
        ("tool", "[aborted: give"),
        ("tool", "[aborted: give"),
        ("user", "forget it"),
    ]
    assert RAN == []


@pytest.mark.acceptance("B7")
async def test_on_pending_resume_puts_the_input_behind_the_resumed_results(
    tmp_path: Path, server: ScriptedServer
) -> None:
    await crashed(tmp_path, "s", "a", "die", "b")
    server.use([Reply(text="resumed"), Reply(text="answered")])
    async with open_loop(tmp_path, service(server), tools=tools(die="read")) as loop:
        result = await loop.send("and this", "s", on_pending="resume")
        assert (result.final_text, result.turn) == ("answered", 3)
        assert RAN == ["b"], "what counts is the effect recorded with the call"
        assert await history_is_valid(loop, "s")
        assert [(turn.origin, turn.status) for turn in await loop.get_turns("s")] == [
            (1, "interrupted"),
            (1, "completed"),
            (3, "completed"),
        ]
    last = [(message["role"], message["content"]) for message in server.requests[-1].messages]
    assert last[0] == ("user", "first")
    assert last[2:4] == [("tool", "a done"), ("tool", last[3][1])]
    assert last[4:] == [("tool", "b done"), ("assistant", "resumed"), ("user", "and this")]


@pytest.mark.acceptance("B7")
async def test_on_pending_resume_that_is_stopped_leaves_the_input_unsent(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "die", "b")
    stop = asyncio.Event()
    stop.set()
    async with open_loop(tmp_path, ["never"], tools=tools()) as loop:
        result = await loop.send("and this", "s", on_pending="resume", stop_event=stop)
        assert (result.status, [call.name for call in result.pending_tool_calls]) == (Status.STOPPED, ["die", "b"])
        assert "and this" not in [message.text for message in await loop.get_messages("s")]


@pytest.mark.acceptance("B7")
async def test_on_pending_resume_leaves_to_a_person_what_only_a_person_can_say(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "die", "b")
    async with open_loop(tmp_path, ["never"], tools=tools(), in_doubt="ask") as loop:
        with pytest.raises(SessionPendingError) as caught:
            await loop.send("and this", "s", on_pending="resume")
        assert [call.name for call in caught.value.calls] == ["die", "b"]
        assert RAN == []


@pytest.mark.acceptance("B2")
@pytest.mark.parametrize(
    ("how", "result", "ran"),
    [
        ({}, "[outcome unknown]", ["b"]),
        ({"in_doubt": "retry"}, "die done", ["die", "b"]),
        ({"decisions": "retry"}, "die done", ["die", "b"]),
        ({"decisions": "report", "in_doubt": "retry"}, "[outcome unknown]", ["b"]),
        ({"decisions": "abort"}, "[aborted: given up by decision] It was started", ["b"]),
    ],
)
async def test_what_a_resume_does_with_a_call_in_doubt(
    tmp_path: Path, how: dict[str, Any], result: str, ran: list[str]
) -> None:
    await crashed(tmp_path, "s", "a", "die", "b")
    llm = ScriptedLLM(["done"])
    async with open_loop(tmp_path, llm, tools=tools()) as loop:
        doubtful, _ = await loop.get_pending("s")
        if "decisions" in how:
            how = {**how, "decisions": {doubtful.id: how["decisions"]}}
        resumed = await loop.resume("s", **how)
        assert resumed.final_text == "done"
    assert ran == RAN
    assert shown(llm.requests[0])[3].startswith(f"tool: {result}")
    assert shown(llm.requests[0])[4] == "tool: b done"
    assert valid(*llm.requests)


@pytest.mark.acceptance("B2")
async def test_a_persons_word_is_the_result(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "die", "b")
    async with open_loop(tmp_path) as offline:
        call, _ = await offline.get_pending("s")
        await offline.resolve("s", call.id, {"invoice": 7})
    llm = ScriptedLLM(["done"])
    async with open_loop(tmp_path, llm, tools=tools()) as loop:
        await loop.resume("s")
    assert shown(llm.requests[0])[2:] == ['tool: {"invoice":7}', "tool: b done"]
    assert RAN == ["b"]


@pytest.mark.acceptance("B4")
async def test_the_states_of_a_session_are_told_apart(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def model(request: object) -> str:
        entered.set()
        await release.wait()
        return "done"

    await crashed(tmp_path, "before model")
    await crashed(tmp_path, "in tools", "a", "die")
    async with open_loop(tmp_path, [model]) as loop, open_loop(tmp_path) as other:
        for session in ("new", "running", "idle", "stopped"):
            await loop.create_session(session)
        sending = asyncio.create_task(loop.send("go", "running"))
        async with stuck_in(sending, entered):
            assert isinstance(loop._llm, ScriptedLLM)
            loop._llm.add("hello", lambda _: asyncio.sleep(FOREVER, ""))
            await loop.send("go", "idle")
            stop = asyncio.Event()
            stop.set()
            await loop.send("go", "stopped", stop_event=stop)
            for one in (loop, other):
                states = {info.session_id: str(info.state) for info in await one.list_sessions()}
                assert states == {
                    "new": "idle",
                    "idle": "idle",
                    "running": "running",
                    "stopped": "stopped",
                    "before model": "interrupted_before_model",
                    "in tools": "interrupted_in_tools",
                }
                attention = {info.session_id for info in await one.list_sessions() if info.needs_attention}
                assert attention == {"before model", "in tools"}
                running = await one.get_session("running")
                assert running.owner is not None
                assert running.owner_since is not None
            release.set()
        await sending


@pytest.mark.acceptance("B4")
async def test_resume_of_an_idle_session_asks_no_model_and_says_so(tmp_path: Path) -> None:
    llm = ScriptedLLM(["hello"])
    async with open_loop(tmp_path, llm) as loop:
        await loop.create_session("s")
        empty = await loop.resume("s")
        assert (empty.status, empty.turn, empty.stop_reason) == (Status.COMPLETED, 0, "idle")
        sent = await loop.send("hi", "s")
        before = dump(tmp_path)
        idle = await loop.resume("s")
        assert (idle.stop_reason, idle.final_text, idle.turn, idle.usage) == ("idle", "hello", sent.turn, sent.usage)
        assert len(llm.requests) == 1
        assert dump(tmp_path) == before


@pytest.mark.acceptance("B4")
@pytest.mark.parametrize("policy", ["report", "abort", "resume"])
async def test_recover_handles_each_interrupted_session_exactly_once(tmp_path: Path, policy: Any) -> None:
    await crashed(tmp_path, "one")
    await crashed(tmp_path, "two", "die", "b")
    async with (
        open_loop(tmp_path, ["done"] * 4, tools=tools()) as loop,
        open_loop(tmp_path, ["done"] * 4, tools=tools()) as other,
    ):
        await loop.create_session("idle")
        taken = await asyncio.gather(loop.recover(policy), other.recover(policy))
        entries = [entry for each in taken for entry in each]
        assert sorted(entry.session_id for entry in entries) == ["one", "two"]
        assert {(entry.action, entry.error) for entry in entries} == {(policy, None)}
        assert await loop.recover(policy) == await other.recover(policy) == []
        two = next(entry for entry in entries if entry.session_id == "two")
        states = {info.session_id: str(info.state) for info in await loop.list_sessions()}
        match policy:
            case "report":
                assert [call.name for call in two.pending] == ["die", "b"]
                assert states["one"] == "interrupted_before_model"
                assert states["two"] == "interrupted_in_tools"
                assert (await loop.get_turns("two"))[0].state == "interrupted"
            case "abort":
                assert two.pending == ()
                assert states["two"] == "stopped"
            case "resume":
                assert two.result is not None
                assert two.result.final_text == "done"
                assert set(states.values()) == {"idle"}
        assert (["b"] if policy == "resume" else []) == RAN


@pytest.mark.acceptance("B4")
async def test_one_session_that_fails_keeps_no_other_from_being_recovered(tmp_path: Path) -> None:
    for session in ("one", "two"):
        await crashed(tmp_path, session)
    async with open_loop(tmp_path, ["done", ValueError("no")]) as loop:
        entries = await loop.recover("resume")
    assert sorted(entry.error is None for entry in entries) == [False, True]
    failed = next(entry for entry in entries if entry.error is not None)
    assert failed.error is not None
    assert failed.error.code == "model.error"


RECOVERER = """
import asyncio, sys
from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop

async def main():
    async with StatefulAgentLoop(llm=ScriptedLLM(["done"] * 9), db_path=sys.argv[1], create=False) as loop:
        print("ready", flush=True)
        sys.stdin.readline()
        print(*(entry.session_id for entry in await loop.recover("resume")))

asyncio.run(main())
"""


@pytest.mark.acceptance("B4")
async def test_two_processes_recover_each_session_exactly_once(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    for session in names:
        await crashed(tmp_path, session)
    processes = [python(RECOVERER, tmp_path / "agent.db") for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 30) for process in processes))
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(" ".join(out for out, _ in outputs).split()) == sorted(names)
    async with open_loop(tmp_path) as loop:
        for session in names:
            assert [turn.status for turn in await loop.get_turns(session)] == ["interrupted", "completed"]
