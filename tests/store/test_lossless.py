"""What goes in comes back: every kind of message, every plane of Unicode, every size; what cannot goes in nowhere."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client.messages import AssistantMessage, TextPart, ToolCall, ToolMessage, UserMessage
from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, InputInvalidError, SessionNotFoundError, StatefulAgentLoop, open_store, tool
from power_loop.store.contract import NewSession
from power_loop.values import SessionId
from tests.store import sample
from tests.store.kit import a_loop, assert_sound, dump, tables

pytestmark = pytest.mark.acceptance("A4")

said = st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=10), json_values, max_size=4)
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": said})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": said})})
    | st.fixed_dictionaries({"type": st.just("input_audio"), "input_audio": objects})
    | st.fixed_dictionaries({"type": st.just("file"), "file": objects}),
    min_size=1,
    max_size=4,
)
tool_calls = st.lists(
    st.builds(ToolCall, id=st.text(min_size=1, max_size=12), name=st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
              arguments=st.text(max_size=40)),
    min_size=1, max_size=4, unique_by=lambda call: call.id,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    content=said | parts,
    name=st.none() | st.from_regex(r"[^\s<|\\/>]{1,64}", fullmatch=True),
    calls=tool_calls,
    spoken=st.none() | said,
    provider=objects,
    answer=said,
    metadata=objects,
    request_id=said.map(lambda text: text[:200]),
    session_id=st.text(min_size=1, max_size=200).filter(lambda text: "\x00" not in text),
)
def test_a4_every_message_reads_back_equal_after_a_restart(
    content: Any,
    name: str | None,
    calls: list[ToolCall],
    spoken: str | None,
    provider: dict[str, Any],
    answer: str,
    metadata: dict[str, Any],
    request_id: str,
    session_id: str,
) -> None:
    asking = AssistantMessage(content=spoken, tool_calls=tuple(calls), provider=provider)
    given = {"role": "user", "content": content} | ({} if name is None else {"name": name})

    async def through(path: Path) -> None:
        async with a_loop(path, [asking, answer]) as loop:
            await loop.create_session(session_id, metadata=metadata)
            await loop.send(given, session_id, request_id=request_id, metadata=metadata)
        async with StatefulAgentLoop(db_path=path) as loop:
            first, second, *results, last = [stored.message for stored in await loop.get_messages(session_id)]
            assert isinstance(first, UserMessage)
            assert first.name == name
            if isinstance(content, str):
                assert first.content == content
            else:
                assert isinstance(first.content, tuple)
                assert [part.model_dump(mode="json") for part in first.content] == content
            assert second == asking
            assert [result.tool_call_id for result in results if isinstance(result, ToolMessage)] == [
                c.id for c in calls
            ]
            assert last == AssistantMessage(content=answer)
            kept = await loop.get_calls(session_id)
            assert [(call.id, call.name, call.arguments) for call in kept] == [
                (c.id, c.name, c.arguments) for c in calls
            ]
            info = await loop.get_session(session_id)
            assert (info.session_id, info.metadata) == (session_id, metadata)
            [turn] = await loop.get_turns(session_id)
            assert (turn.request_id, turn.metadata) == (request_id, metadata)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(through(Path(folder, "agent.db")))


EVERY_PLANE = "\x00\x01\x7f" + "".join(
    chr(plane * 0x10000 + at) for plane in range(17) for at in (0x41, 0xFFFD, 0xFFFF)
)


@pytest.mark.parametrize(
    "text",
    [EVERY_PLANE, "\x00", "a\x00b", "\u2028\u2029\ufeff", "e\u0301 \u202e", "x" * 5_000_000, "\N{SNOWMAN}" * 1_700_000],
    ids=["every plane", "NUL", "NUL inside", "odd spaces", "combining", "5 MB", "5 MB of snowmen"],
)  # fmt: skip
async def test_a4_texts_of_every_plane_and_size_come_back(tmp_path: Path, text: str) -> None:
    @tool
    def echo(text: str) -> str:
        """Says it again."""
        return text

    asks = AssistantMessage(tool_calls=(ToolCall(id="c", name="echo", arguments=json_of(text)),))
    path = tmp_path / "agent.db"
    async with a_loop(path, [asks, f"I say {text}"], tools=[echo]) as loop:
        await loop.send(f"You say {text}", (await loop.create_session("s")))
    async with StatefulAgentLoop(db_path=path) as loop:
        user, call, result, answer = await loop.get_messages("s")
        assert user.text == f"You say {text}"
        assert call.tool_calls[0].arguments == json_of(text)
        assert (result.handle is None) == (len(text) <= AgentLoopConfig().shown_at_once)
        assert (result.text if result.handle is None else await loop.recall_output("s", result.handle)) == text
        assert answer.text == f"I say {text}"


def json_of(text: str) -> str:
    return AssistantMessage(provider={"text": text}).model_dump_json(include={"provider"})[len('{"provider":') : -1]


@pytest.mark.parametrize(
    "session_id",
    [
        "x" * 200,
        "\N{GRINNING FACE}" * 200,
        "it's",
        'a "b"',
        "100%",
        "a_b",
        "a%b",
        "..",
        "/etc/passwd",
        "a\nb",
        " ",
        "--",
        "*",
    ],
)
async def test_a4_any_text_of_200_characters_is_a_session_id(tmp_path: Path, session_id: str) -> None:
    path = tmp_path / "agent.db"
    async with a_loop(path, ["one", "two"]) as loop:
        await loop.create_session("aXb")
        await loop.create_session("100X")
        assert await loop.create_session(session_id) == session_id
        await loop.send("hi", session_id)
        assert await loop.find_session(session_id) == session_id
        assert (await loop.get_messages(session_id))[-1].text == "one"
        with pytest.raises(SessionNotFoundError):
            await loop.find_session(f"{session_id[:150]}%")
        await loop.delete_session(session_id)
        assert {info.session_id for info in await loop.list_sessions()} == {"aXb", "100X"}


LONE = "\ud800"
REFUSED: dict[str, Callable[[StatefulAgentLoop], Coroutine[Any, Any, object]]] = {
    "input": lambda loop: loop.send(f"hi {LONE}", "s"),
    "input part": lambda loop: loop.send([{"type": "text", "text": LONE}], "s"),
    "input part as a model": lambda loop: loop.send([TextPart(text=LONE)], "s"),
    "unknown field of a part": lambda loop: loop.send([{"type": "text", "text": "hi", "cache": LONE}], "s"),
    "name": lambda loop: loop.send({"role": "user", "content": "hi", "name": LONE}, "s"),
    "metadata": lambda loop: loop.send("hi", "s", metadata={"a": LONE}),
    "metadata key": lambda loop: loop.send("hi", "s", metadata={LONE: 1}),
    "request id": lambda loop: loop.send("hi", "s", request_id=LONE),
    "session id": lambda loop: loop.send("hi", LONE),
    "new session id": lambda loop: loop.create_session(LONE),
    "system prompt": lambda loop: loop.create_session("t", system_prompt=LONE),
    "model": lambda loop: loop.create_session("t", model=LONE),
    "parent": lambda loop: loop.create_session("t", parent=LONE),
    "session metadata": lambda loop: loop.create_session("t", metadata={"a": [LONE]}),
    "reason to abort": lambda loop: loop.abort_pending("s", reason=LONE),
    "reason to stop": lambda loop: loop.request_stop("s", reason=LONE),
    "resolved error": lambda loop: loop.resolve("s", "c", error=LONE),
    "call id": lambda loop: loop.resolve("s", LONE, retry=True),
    "prefix": lambda loop: loop.find_session(LONE),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a4_a_lone_surrogate_is_refused_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    path = tmp_path / "agent.db"
    async with a_loop(path, ["never said"]) as loop:
        await loop.create_session("s")
        before = dump(path)
        with pytest.raises(InputInvalidError) as caught:
            await REFUSED[what](loop)
        assert caught.value.code == "input.invalid"
        assert dump(path) == before


async def test_a4_the_store_itself_refuses_what_cannot_be_stored(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "agent.db")
    before = dump(tmp_path / "agent.db")
    with pytest.raises(InputInvalidError) as caught:
        await store.create_session(NewSession(id=SessionId(LONE)))
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    assert dump(tmp_path / "agent.db") == before
    await store.aclose()


async def test_a4_a_deleted_session_leaves_no_row_in_any_table_and_takes_none_of_others(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    await sample.build(path)
    belonging = dict(owned(path))
    assert set(belonging) == {
        *("sessions", "turns", "messages", "calls", "usage", "compactions", "inputs", "outputs", "waits", "events"),
        "rules",
    }
    before = dump(path)
    assert all(before[table] for table in belonging if table != "rules")
    async with StatefulAgentLoop(db_path=path) as loop:
        await loop.delete_session("alpha")  # and with it beta, which is below it
        assert {info.session_id for info in await loop.list_sessions()} == {"gamma", "delta", "epsilon"}
    after = dump(path)
    for table in belonging:
        assert after[table] == [row for row in before[table] if row[0] not in (1, 2)], table
    assert_sound(path)


def owned(path: Path) -> list[tuple[str, str]]:
    """Every table whose rows belong to a session, found by the foreign keys, and the column that says to which."""
    with closing(sqlite3.connect(path)) as connection:
        found = [("sessions", "key")]
        for table in tables(connection):
            keys = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            found += {
                (table, key[3]) for key in keys if key[2] in ("sessions", "messages", "calls") and key[3] == "session"
            }
        return found


async def test_a4_a_session_made_anew_has_nothing_of_the_one_deleted(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    config = AgentLoopConfig()
    async with StatefulAgentLoop(llm=ScriptedLLM(["one"]), db_path=path, config=config) as loop:
        await loop.create_session("s")
        await loop.send("a secret", "s")
        key = dump(path)["sessions"][0][0]
        await loop.delete_session("s")
        await loop.create_session("s")
        assert await loop.get_messages("s") == []
        assert dump(path)["sessions"][0][0] > key  # so that no late write of the old one fits
