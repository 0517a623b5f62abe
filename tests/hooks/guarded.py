"""A turn for the kill sweep, guarded at every point of a call: some run, one is denied.

No guard replaces or retries anything here: the oracle holds each result against what the tool returned, and takes a
second run within one process for a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from power_loop import AgentLoopConfig, Hooks, StatefulAgentLoop, ToolContext, tool
from power_loop import hooks as h
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence

SESSION: Final = "guarded"


def model(asked: Asked) -> Reply:
    if asked.last == "tool":
        return Reply(text="All done.")
    if asked.last_user_text == "work":
        return Reply.calling(("put", {"what": "shelf"}), ("put", {"what": "secret"}), ("look", {"what": "stock"}))
    return Reply(text=f"Heard: {asked.last_user_text}")


def hooks() -> Hooks:
    made = Hooks()

    @made.guard(h.CALL_START)
    async def start(call: h.CallStart) -> h.Proceed | h.Deny:
        return h.Deny("not that") if call.values["what"] == "secret" else h.Proceed()

    for point in (h.BATCH_START, h.CALL_ERROR, h.CALL_END, h.BATCH_END, h.MESSAGE_APPEND, h.TURN_END):
        made.guard(point, lambda view: None)
    return made


def build(client: Client) -> StatefulAgentLoop:
    @tool(effect="idempotent")
    async def put(what: str, context: ToolContext) -> str:
        """Puts."""
        client.remote.do("put", key=context.idempotency_key, what=what)
        return f"put {what}"

    @tool(effect="read")
    async def look(what: str, context: ToolContext) -> str:
        """Looks."""
        client.remote.do("look", key=context.idempotency_key, what=what)
        return f"seen {what}"

    return StatefulAgentLoop(
        llm=ScriptedModel(model),
        tools=[put, look],
        config=AgentLoopConfig(),
        db_path=client.db_path,
        world=client.world,
        hooks=hooks(),
    )


async def work(client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, "work", SESSION, request_id="work")


def check(found: Evidence) -> Iterator[str]:
    """What was denied never ran."""
    for session in found.sessions:
        for call in session.table("calls"):
            if "secret" in call["arguments"] and found.remote.effects["put", session.key_of(call)]:
                yield "what a guard denied has run"


scenario: Final = Scenario(build=build, work=work, check=check)
