"""Sessions as things: made, told apart, linked, put away, closed, deleted; and `send` without an event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionExistsError, SessionNotFoundError, StatefulAgentLoop, Status, ToolRegistry, tool
from power_loop.errors import LoopClosedError, SessionArchivedError, SessionBusyError, SessionClosedError
from power_loop.testing import Reply, ScriptedServer
from tests.loop.kit import FOREVER, crashed, dump, open_loop, service, shown, stuck_in


async def test_two_sessions_know_nothing_of_each_other(tmp_path: Path) -> None:
    llm = ScriptedLLM(["one", "two", "three"])
    async with open_loop(tmp_path, llm, system_prompt="be good") as loop:
        a = await loop.send("in a")
        b = await loop.send("in b")
        assert a.session_id != b.session_id
        await loop.send("in a again", a.session_id)
    assert shown(llm.requests[1]) == ["system: be good", "user: in b"]
    assert shown(llm.requests[2]) == ["system: be good", "user: in a", "assistant: one", "user: in a again"]


async def test_a_session_keeps_what_it_was_made_with(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply(text="ok")] * 3)
    async with open_loop(tmp_path, service(server), system_prompt="the configured one") as loop:
        metadata = {"user": 7, "ünïcode": ["x"]}
        await loop.create_session("plain")
        await loop.create_session("own", system_prompt="its own", model="bigger", metadata=metadata)
        await loop.send("hi", "plain", metadata={"trace": "abc"})
        await loop.send("hi", "own")
        info = await loop.get_session("own")
        assert (info.model, info.metadata) == ("bigger", metadata)
        assert (await loop.get_session("plain")).metadata == {}
        assert (await loop.get_turns("plain"))[0].metadata == {"trace": "abc"}
        assert [call.model for call in await loop.get_usage("own")] == ["bigger"]
    async with open_loop(tmp_path, service(server), system_prompt="changed meanwhile") as later:
        await later.send("again", "own")
    told = [(request.body["model"], request.messages[0]["content"]) for request in server.requests]
    assert told == [("scripted", "the configured one"), ("bigger", "its own"), ("bigger", "its own")]


async def test_parts_and_messages_reach_the_model_as_given(tmp_path: Path, server: ScriptedServer) -> None:
    server.use([Reply(text="ok")] * 3)
    parts: list[Any] = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    async with open_loop(tmp_path, service(server)) as loop:
        result = await loop.send(parts)
        await loop.send({"role": "user", "content": "hi", "name": "ann"}, result.session_id)
        stored = await loop.get_messages(result.session_id)
        assert stored[0].as_dict() == {"role": "user", "content": parts}
    assert server.requests[1].messages[0]["content"] == parts
    assert server.requests[1].messages[2] == {"role": "user", "content": "hi", "name": "ann"}


async def test_children_are_closed_and_deleted_with_their_parent(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["hi"] * 5) as loop:
        await loop.create_session("parent")
        await loop.create_session("child", parent="parent")
        await loop.create_session("grandchild", parent="child")
        await loop.create_session("other")
        for session in ("parent", "child", "grandchild", "other"):
            await loop.send("hello", session)
        assert [info.session_id for info in await loop.list_sessions(parent="parent")] == ["child"]
        assert (await loop.get_session("grandchild")).parent == "child"
        assert await loop.close_session("child", cascade=False) == ["child"]
        assert (await loop.get_session("grandchild")).closed is False
        assert sorted(await loop.close_session("parent")) == ["child", "grandchild", "parent"]
        with pytest.raises(SessionClosedError):
            await loop.send("more", "grandchild")
        assert [message.text for message in await loop.get_messages("grandchild")] == ["hello", "hi"]
        await loop.delete_session("parent")
        assert [info.session_id for info in await loop.list_sessions()] == ["other"]
        assert len(dump(tmp_path)["messages"]) == 2
        with pytest.raises(SessionNotFoundError):
            await loop.get_messages("child")


async def test_closing_gives_open_calls_up(tmp_path: Path) -> None:
    await crashed(tmp_path, "s", "die", "b")
    async with open_loop(tmp_path) as loop:
        assert await loop.close_session("s") == ["s"]
        assert await loop.get_pending("s") == []
        texts = [message.text for message in await loop.get_messages("s")]
        assert [text.startswith("[aborted: the session was closed]") for text in texts[-2:]] == [True, True]


async def test_a_driven_child_keeps_the_whole_family_open(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def model(request: object) -> str:
        entered.set()
        await asyncio.sleep(FOREVER)
        return ""

    async with open_loop(tmp_path, [model]) as loop:
        await loop.create_session("parent")
        await loop.create_session("child", parent="parent")
        sending = asyncio.create_task(loop.send("go", "child"))
        async with stuck_in(sending, entered):
            before = dump(tmp_path)
            for refused in (loop.close_session("parent"), loop.delete_session("parent")):
                with pytest.raises(SessionBusyError):
                    await refused
            assert dump(tmp_path) == before
            await loop.request_stop("child")
        assert (await sending).status is Status.STOPPED


async def test_an_archived_session_is_hidden_and_comes_back(tmp_path: Path) -> None:
    llm = ScriptedLLM(["one", "two"])
    async with open_loop(tmp_path, llm) as loop:
        await loop.create_session("s")
        await loop.send("hi", "s")
        await loop.archive_session("s")
        assert await loop.list_sessions() == []
        assert [info.archived for info in await loop.list_sessions(archived=True)] == [True]
        with pytest.raises(SessionArchivedError):
            await loop.send("more", "s")
        await loop.archive_session("s", archived=False)
        await loop.send("more", "s")
    assert shown(llm.requests[1]) == ["user: hi", "assistant: one", "user: more"]


async def test_an_id_is_the_apps_own_and_taken_once(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["ok"]) as loop:
        odd = "user 7/ünïcode:'\"; DROP TABLE sessions"
        assert await loop.create_session(odd) == odd
        with pytest.raises(SessionExistsError):
            await loop.create_session(odd)
        assert (await loop.send("hi", odd)).session_id == odd
        assert await loop.find_session("user 7") == odd


async def test_of_many_who_make_a_session_one_does(tmp_path: Path) -> None:
    async with open_loop(tmp_path) as loop, open_loop(tmp_path) as other:
        made = await asyncio.gather(
            *(one.create_session("s") for one in (loop, other, loop, other)), return_exceptions=True
        )
    assert sorted(isinstance(each, SessionExistsError) for each in made) == [False, True, True, True]


async def test_sessions_are_listed_in_pages_the_last_changed_first(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["ok"] * 9) as loop:
        for number in range(5):
            await loop.create_session(f"s{number}")
        await loop.send("hi", "s2")
        found: list[str] = []
        page = await loop.list_sessions(limit=2)
        while page:
            found += [info.session_id for info in page]
            page = await loop.list_sessions(limit=2, before=page[-1])
        assert found == ["s2", "s4", "s3", "s1", "s0"]


async def test_tools_may_be_added_while_the_loop_is_open(tmp_path: Path) -> None:
    registry = ToolRegistry()
    llm = ScriptedLLM(["none yet", "now one"])
    async with open_loop(tmp_path, llm, tools=registry) as loop:
        session = (await loop.send("hi")).session_id

        @registry.add
        @tool
        def late() -> str:
            """Came late."""
            return "here"

        await loop.send("hi", session)
    assert [len(request.tools) for request in llm.requests] == [0, 1]


def test_send_sync_needs_no_event_loop(tmp_path: Path) -> None:
    loop = open_loop(tmp_path, ["one", "two"])
    first = loop.send_sync("hi")
    second = loop.send_sync("more", first.session_id, request_id="r")
    assert (first.final_text, second.final_text, second.turn) == ("one", "two", 2)
    assert not (tmp_path / "agent.db-wal").exists(), "it closes what it opened"
    assert [thread.name for thread in threading.enumerate() if "sqlite" in thread.name.lower()] == []


async def test_send_sync_inside_an_event_loop_says_what_to_do(tmp_path: Path) -> None:
    async with open_loop(tmp_path, ["never"]) as loop:
        with pytest.raises(LoopClosedError, match=r"await loop\.send"):
            loop.send_sync("hi")

        def elsewhere() -> None:
            with pytest.raises(LoopClosedError, match="belongs to an event loop"):
                loop.send_sync("hi")

        await asyncio.to_thread(elsewhere)


def test_one_model_service_may_serve_one_event_loop_after_the_other(tmp_path: Path) -> None:
    with ScriptedServer([Reply(text="one"), Reply(text="two")]) as server:
        loop = open_loop(tmp_path, service(server))
        first = loop.send_sync("hi")
        assert loop.send_sync("more", first.session_id).final_text == "two"


async def test_whoever_is_cancelled_while_the_store_opens_keeps_nobody_from_using_it(tmp_path: Path) -> None:
    loop: StatefulAgentLoop = open_loop(tmp_path, ["hi"])
    tasks = [asyncio.create_task(loop.list_sessions()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [[], []]
    assert (await loop.send("hello")).final_text == "hi"
    await loop.aclose()
