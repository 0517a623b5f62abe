"""A clock by hand and ids by count: what happened can happen again, row for row."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from power_loop import ScriptedLLM, StatefulAgentLoop
from power_loop.testing import CountingIds, ManualClock, world
from tests.store.kit import looked, run, tables

SCENARIO = """
from llm_client.errors import ModelServerError
from llm_client.messages import AssistantMessage, ToolCall
from llm_client.service import Usage
from power_loop.rules import CONTINUE, Watched
from power_loop.testing import CountingIds, ManualClock, world

clock = ManualClock()
agent, session, steering = [], [], []

@tool(effect="read")
def look(what: str) -> str:
    "Looks."
    clock.advance(0.25)
    return f"saw {what}"

@tool(external=True)
def locate() -> str:
    "The host knows."

class Sees:
    name = "sees"

    async def watch(self, seen, memory):
        return Watched(CONTINUE, seen.round)

@tool(result_limit=3)
async def pay(amount: int) -> str:
    "Pays."
    clock.advance(1)
    if amount == 3:
        steering.append(asyncio.create_task(agent[0].send("be quick", session[0], if_busy="steer")))
        while not (await agent[0].get_session(session[0])).queued:
            await asyncio.sleep(0.001)
    if amount > 100:
        raise OSError("the bank is closed")
    return "paid"

def tail(request):
    if not request.tools:
        return "in short"
    return calls(("locate", {})) if "where am I?" in request.messages[-1] else "so there"

script = [
    "hello",
    calls(("look", {"what": "x"}), ("look", {"what": "y"})),
    AssistantMessage(content="now I pay", provider={"reasoning_content": "hm"}, tool_calls=(
        ToolCall(id="", name="pay", arguments='{"amount": 3}'),
        ToolCall(id="", name="pay", arguments='{"amount": 300}'),
        ToolCall(id="c3", name="gone", arguments="{"))),
    "paid the first",
    "what was said",
    "after the fold",
    ModelServerError("down"),
    "up again",
    *[tail] * 4,
]

async def main():
    usage = lambda request, _: Usage(prompt_tokens=320 if len(request.messages) > 8 else 20, completion_tokens=7)
    async with StatefulAgentLoop(
        llm=ScriptedLLM(script, usage=usage), db_path=sys.argv[1], tools=[look, pay, locate],
        config=AgentLoopConfig(context_window=400, system_prompt="be kind", watchers=[Sees()]), world=world(clock),
    ) as loop:
        agent.append(loop)
        session.append((await loop.send("hi")).session_id)
        clock.advance(60)
        await loop.send("look, then pay", session[0], request_id="r1")
        await steering[0]
        clock.set(clock.now().replace(year=2020))
        await loop.send("go on", session[0])
        try:
            await loop.send("and on", session[0])
        except ModelError:
            clock.advance(5)
        await loop.resume(session[0])
        [asked] = (await loop.send("where am I?", session[0])).pending_tool_calls
        clock.advance(3600)
        await loop.submit_results(session[0], {asked.id: "at home"})
        await loop.create_session(parent=session[0], metadata={"n": 1})
        print(session[0])

asyncio.run(main())
"""


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, without names of owners (they hold the number of a process) and what seals it."""
    with looked(path) as connection:
        connection.row_factory = sqlite3.Row
        found = {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in tables(connection)
        }
    for turn in found["turns"]:
        del turn["owner"], turn["crc"]
    for waited in found["inputs"]:
        del waited["sender"], waited["crc"]
    return found


def test_two_runs_of_one_scenario_leave_the_same_rows(tmp_path: Path) -> None:
    paths = tmp_path / "one" / "agent.db", tmp_path / "two" / "agent.db"
    for path in paths:
        path.parent.mkdir()
        assert run(SCENARIO, path) == (0, "id-000003\n")  # the ids before went to the new file and its owner
    one, two = map(rows, paths)
    assert one == two
    assert len(one["turns"]) == 7
    assert len(one["compactions"]) == 2
    assert {call["state"] for call in one["calls"]} == {"succeeded", "failed"}
    assert {name for name, held in one.items() if not held} == set()


async def test_a_loop_lives_in_the_time_of_its_clock(tmp_path: Path) -> None:
    clock = ManualClock(datetime(1999, 12, 31, 23, 59, tzinfo=UTC))
    path = tmp_path / "agent.db"
    async with StatefulAgentLoop(llm=ScriptedLLM(["a", "b"]), db_path=path, world=world(clock)) as loop:
        session = (await loop.send("hi")).session_id
        clock.advance(90)
        await loop.send("again", session)
        clock.set(datetime(1980, 1, 1, tzinfo=UTC))
        info = await loop.get_session(session)
        assert info.created_at == datetime(1999, 12, 31, 23, 59, tzinfo=UTC)
        assert info.updated_at == datetime(2000, 1, 1, 0, 0, 30, tzinfo=UTC)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT DISTINCT at FROM v_timeline LIMIT 1").fetchone()[0].startswith("1999-12")


def test_the_clock_stands_until_it_is_told_to_go() -> None:
    clock = ManualClock()
    began = clock.now()
    assert (clock.now(), clock.monotonic()) == (began, 0)
    clock.advance(1.5)
    assert (clock.now() - began, clock.monotonic()) == (timedelta(seconds=1.5), 1.5)


def test_the_time_of_day_may_jump_back_and_the_other_clock_never_does() -> None:
    clock = ManualClock()
    clock.advance(10)
    clock.set(datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() == 10
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.monotonic() == 10


@pytest.mark.parametrize("where", [ManualClock, ManualClock().set])
def test_a_time_without_a_zone_is_refused(where: Any) -> None:
    with pytest.raises(ValueError, match="time zone"):
        where(datetime(2020, 1, 1))


def test_ids_count_up_and_threads_never_share_one() -> None:
    ids = CountingIds("job-a")
    assert [ids(), ids()] == ["job-a-000001", "job-a-000002"]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: ids(), range(2_000)))
    assert sorted(given) == [f"job-a-{number:06}" for number in range(3, 2_003)]
