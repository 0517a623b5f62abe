"""Several processes and coroutines over one session: in turn, whole, and nothing lost."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, StatefulAgentLoop, open_store
from power_loop.loop.reopen import Warm
from power_loop.loop.turn import Turn
from power_loop.store.sqlite.store import SqliteStore
from power_loop.transcript.view import View
from tests.store.kit import assert_sound, child, dump, says, tell

SENDERS = """
import json
@tool
async def work() -> str:
    "Works."
    await asyncio.sleep(0)
    return "done"

def answer(request):
    # By what the model sees: a call for an input, an answer to a result.
    last = json.loads(request.messages[-1])
    return calls(("work", {})) if last["role"] == "user" else f"answer to {json.loads(request.messages[-3])['content']}"

async def main():
    path, name = sys.argv[1:]
    async with StatefulAgentLoop(llm=ScriptedLLM([answer] * 40), db_path=path, tools=[work]) as loop:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        results = await asyncio.gather(*(loop.send(f"{name}{n}", "s") for n in range(10)))
        print(" ".join(result.final_text.removeprefix("answer to ") for result in results), flush=True)
asyncio.run(main())
"""


@pytest.mark.acceptance("D1")
async def test_d1_two_processes_with_ten_coroutines_each_never_interleave_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with StatefulAgentLoop(db_path=path) as loop:
        await loop.create_session("s")
    with child(SENDERS, path, "a") as a, child(SENDERS, path, "b") as b:
        for process in (a, b):
            says(process, "ready")
        for process in (a, b):
            tell(process)
        says(a, " ".join(f"a{n}" for n in range(10)))
        says(b, " ".join(f"b{n}" for n in range(10)))
    async with StatefulAgentLoop(db_path=path) as loop:
        messages = await loop.get_messages("s")
        turns = await loop.get_turns("s")
    assert {turn.status for turn in turns} == {"completed"}
    assert [message.turn for message in messages] == [turn.number for turn in turns for _ in range(4)]
    inputs = [message.text for message in messages if message.role == "user"]
    assert sorted(inputs) == sorted(f"{name}{n}" for name in "ab" for n in range(10))
    for start in range(0, len(messages), 4):
        user, call, result, answer = messages[start : start + 4]
        assert [user.role, call.role, result.role] == ["user", "assistant", "tool"]
        assert answer.text == f"answer to {user.text}"
    assert_sound(path)


def per_session_objects() -> list[object]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Turn | Warm | View)]


@pytest.mark.acceptance("D3")
async def test_d3_after_a_thousand_closed_sessions_nothing_is_kept_for_any(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    store = await open_store(path, synchronous="NORMAL")
    assert isinstance(store, SqliteStore)
    config = AgentLoopConfig(warm_sessions=10_000)
    others = per_session_objects()  # of other tests in this process, kept by their tracebacks
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"] * 1000), store=store, config=config) as loop:
        for number in range(1000):
            result = await loop.send(f"hi {number}")
            await loop.close_session(result.session_id)
        conductor = await loop._open()
        assert len(conductor) == 0
        assert store._driving == {}
        left = per_session_objects()
        assert [thing for thing in left if not any(thing is other for other in others)] == []
    await store.aclose()
    assert len(dump(path)["sessions"]) == 1000


@pytest.mark.acceptance("D3")
async def test_d3_of_sessions_that_stay_only_as_many_are_kept_warm_as_configured(tmp_path: Path) -> None:
    config = AgentLoopConfig(warm_sessions=5)
    llm = ScriptedLLM(["hello"] * 40)
    async with StatefulAgentLoop(llm=llm, db_path=tmp_path / "agent.db", config=config) as loop:
        for number in range(20):
            await loop.create_session(f"s{number}")
            await loop.send("hi", f"s{number}")
        assert len(await loop._open()) == 5
        await loop.send("again", "s0")  # it is read again, and is the same
        assert [json.loads(message)["content"] for message in llm.requests[-1].messages] == ["hi", "hello", "again"]
