"""A turn whose calls wait for people: one approved, one denied, one edited, one answered by the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from power_loop import StatefulAgentLoop, Tool, ToolContext, tool
from power_loop.store.records import WaitInfo
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence

NAME: Final = "tests.crash.people:scenario"
SESSION: Final = "the-session"
SCHEMA: Final = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
EDITED: Final = {"what": "a little"}
WORK: Final = (
    ("look", {"what": "around"}),
    ("pay", {"what": "approved"}),
    ("pay", {"what": "denied"}),
    ("put", {"what": "a lot"}),
    ("fetch", {"what": "all"}),
)
ENDS: Final = {"approved": "pay", "a little": "put", "around": "look"}
"""What has an effect outside, and by which tool."""


def tools(client: Client) -> list[Tool]:
    def does(name: str, what: str, context: ToolContext) -> str:
        client.remote.do(name, key=context.idempotency_key, what=what)
        return f"{name}: {what}"

    @tool(effect="read")
    def look(what: str, context: ToolContext) -> str:
        return does("look", what, context)

    @tool(approval="money leaves")
    async def pay(what: str, context: ToolContext) -> str:
        return does("pay", what, context)

    @tool(effect="idempotent", approval=lambda arguments: arguments["what"] == "a lot")
    def put(what: str, context: ToolContext) -> str:
        return does("put", what, context)

    return [look, pay, put, Tool.from_schema("fetch", "The host fetches it.", SCHEMA, external=True)]


def model(asked: Asked) -> Reply:
    if asked.last == "user":
        return Reply(calls=Reply.calling(*WORK).calls) if asked.last_user_text == "work" else Reply(text="Heard.")
    return Reply(text="Done.")


def build(client: Client) -> StatefulAgentLoop:
    return StatefulAgentLoop(llm=ScriptedModel(model), tools=tools(client), db_path=client.db_path, world=client.world)


async def people(loop: StatefulAgentLoop, wait: WaitInfo) -> None:
    what = json.loads(wait.arguments)["what"]
    session, call = wait.session_id, wait.call_id
    match what:
        case "approved":
            await loop.approve(session, call, arguments_hash=wait.arguments_hash, by="ann")
        case "denied":
            await loop.deny(session, call, "not that", by="bob")
        case "a lot":
            await loop.approve(session, call, arguments=EDITED)
        case "all":
            await loop.submit_results(session, {call: "all of it"}, go_on=False)


async def work(client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, "work", SESSION, request_id="work")
    await client.attended(loop, SESSION, people)
    await client.send(loop, "more", SESSION, request_id="more")


def check(found: Evidence) -> Iterator[str]:
    """Exactly what was approved happens, with exactly what was approved, once; nobody is asked twice."""
    yield from done_as_approved(found)
    if found.complete:
        ends = sorted((json.loads(call["arguments"])["what"], call["state"]) for call in found.table("calls"))
        if [what for what, _ in ends] != sorted(what["what"] for _, what in WORK):
            yield f"the calls were {ends}"


def done_as_approved(found: Evidence) -> Iterator[str]:
    done: dict[str, int] = {}
    for line in found.remote._lines("done"):
        what = line["answer"]["what"]
        done[what] = done.get(what, 0) + 1
        if ENDS.get(what) != line["name"]:
            yield f"{line['name']} did {what!r}, which nobody approved"
    once = [what for what, name in ENDS.items() if name != "look"]
    yield from (f"{what} was done {done[what]} times" for what in once if done.get(what, 0) > 1)
    for session in found.sessions:
        calls = {(call["seq"], call["ordinal"]): call for call in session.table("calls")}
        for wait in session.table("waits"):
            yield from _waits(calls[wait["seq"], wait["ordinal"]], wait)


def _waits(call: dict[str, Any], wait: dict[str, Any]) -> Iterator[str]:
    what = json.loads(wait["arguments"])["what"]
    if wait["decision"] is None:
        if call["state"] not in ("awaiting_approval", "started", "aborted"):
            yield f"nobody has decided about {what}, which is {call['state']}"
        return
    said = {"approved": "approved", "denied": "denied", "a lot": "approved", "all": "answered"}[what]
    if wait["decision"] != said:
        yield f"{what} was {wait['decision']}"
    if said == "denied" and call["state"] not in ("awaiting_approval", "denied", "aborted"):
        yield f"{what} was denied and is {call['state']}"
    if (wait["changed"] is not None) != (what == "a lot"):
        yield f"{what} was approved with {wait['changed']}"


scenario: Final = Scenario(build=build, work=work, check=check, people=people)
