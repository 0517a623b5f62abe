"""A small scenario, sound as `sound`, and with one fault planted in it under each other name of `FAULTS`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from power_loop import StatefulAgentLoop, ToolContext, tool
from power_loop.testing import Client, Scenario, ScriptedModel
from power_loop.testing.crash.place import append

SESSION: Final = "shop"
MODEL: Final = {
    "rules": [{"when": {"last": "user", "contains": "20"}, "reply": [["charge", {"euros": 20}]]}],
    "otherwise": "Charged.",
}
Fault: TypeAlias = Callable[[Client, StatefulAgentLoop], Awaitable[None]]


def build(client: Client) -> StatefulAgentLoop:
    @tool
    async def charge(euros: int, context: ToolContext) -> dict[str, Any]:
        return client.remote.do("charge", key=context.idempotency_key, euros=euros)

    return StatefulAgentLoop(llm=ScriptedModel(MODEL), tools=[charge], db_path=client.db_path, world=client.world)


async def work(fault: Fault, client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, "Charge 20 euros.", SESSION, request_id="one")
    await fault(client, loop)


async def nothing(client: Client, loop: StatefulAgentLoop) -> None:
    return None


async def enter_unledgered(client: Client, loop: StatefulAgentLoop) -> None:
    await _enter(loop, ToolContext(session_id=SESSION, call_id="call_x", idempotency_key="made up"))


async def enter_twice(client: Client, loop: StatefulAgentLoop) -> None:
    (call,) = await loop.get_calls(SESSION)
    key = next(line for line in client.place.runs.read_text().split('"') if line.startswith(f"{SESSION}@"))
    await _enter(loop, ToolContext(session_id=SESSION, call_id=call.id, idempotency_key=key, attempt=2))


async def acknowledge_nothing(client: Client, loop: StatefulAgentLoop) -> None:
    said = {"at": SESSION, "steered": False, "turn": 2, "status": "completed", "text": "Yes."}
    append(client.place.sent, {"event": "heard", "session": SESSION, "request": "two", **said})


async def send_unseen(client: Client, loop: StatefulAgentLoop) -> None:
    await loop.send("Behind the back of the kit.", SESSION, request_id="unseen")


async def wait_for_ever(client: Client, loop: StatefulAgentLoop) -> None:
    if client.process != "warm":
        await asyncio.Event().wait()


def doctor_the_file(*statements: str) -> Fault:
    async def change(client: Client, loop: StatefulAgentLoop) -> None:
        with closing(sqlite3.connect(client.db_path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return change


async def _enter(loop: StatefulAgentLoop, context: ToolContext) -> None:
    charge = loop.tools.get("charge")
    assert charge is not None
    await charge.call(charge.arguments('{"euros": 20}'), context)


FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "unledgered_call": (enter_unledgered, "charge was entered for a call that is not in the ledger"),
    "once_twice": (enter_twice, "a `once` call was entered 2 times"),
    "false_acknowledgement": (acknowledge_nothing, "the acknowledged input two is stored 0 times"),
    "unseen_input": (send_unseen, "the input unseen is stored, and nobody sent it through client.send"),
    "stuck": (wait_for_ever, "was stuck for"),
    "lost_result": (
        doctor_the_file("DELETE FROM messages WHERE role = 'tool'"),
        "call call_",
    ),
    "lost_usage": (doctor_the_file("DELETE FROM usage WHERE number = 1"), "there are usage rows for {'answer': 1}"),
    "lost_call": (doctor_the_file("DELETE FROM calls"), "the ledger and the answers do not name the same calls"),
    "lost_input": (
        doctor_the_file("UPDATE turns SET request_id = NULL"),
        "the acknowledged input one is stored 0 times",
    ),
    "doubled_input": (
        doctor_the_file(
            "INSERT INTO messages SELECT session, 9, turn, 9, role, state, folded_by, note_of, pinned, body, provider, "
            "created_at, crc FROM messages WHERE role = 'user'"
        ),
        "is stored 2 times, sent 1 times",
    ),
    "old_epoch": (doctor_the_file("UPDATE sessions SET epoch = 0"), "turns have the epochs [1], the session 0"),
    "other_words": (
        doctor_the_file("UPDATE messages SET body = replace(body, 'Charged', 'Stolen')"),
        "the acknowledged answer of one is not the stored one, 'Stolen.'",
    ),
    "open_and_done": (
        doctor_the_file(
            "UPDATE calls SET state = 'started', result_seq = NULL, settled_at = NULL, settled_by = NULL",
        ),
        "calls are open in a turn that is done",
    ),
}
"""What goes wrong, and words that the oracle finds for it."""


def __getattr__(name: str) -> Scenario:
    fault, _ = FAULTS.get(name, (nothing, ""))
    if fault is nothing and name != "sound":
        raise AttributeError(name)
    scenario = Scenario(build=build, work=partial(work, fault), patience=20)
    return replace(scenario, patience=0.5) if name == "stuck" else scenario


sightless: Final = Scenario(
    build=lambda client: StatefulAgentLoop(llm=ScriptedModel(MODEL), db_path=client.db_path),
    work=partial(work, nothing),
)
"""Its loop does not tell which crash points it passes."""
