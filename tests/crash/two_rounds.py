"""A1's scenario: two plain turns, then one of two rounds with calls and a compaction in between, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from power_loop import AgentLoopConfig, OpenAIChatService, StatefulAgentLoop, Tool, ToolContext, tool
from power_loop.testing import Asked, Client, Reply, Scenario
from power_loop.testing.crash import Evidence, windows

NAME: Final = "tests.crash.two_rounds:scenario"
SESSION: Final = "the-session"
STEPS: Final = {
    "first": "first of all: " + "the history that will be folded, line by line. " * 4,
    "second": "then this: " + "some more of the history that will be folded. " * 4,
    "work": "Do the work.",
}
NOTE: Final = "What was said before, in short."
WINDOW: Final = 750

ROUND_ONE: Final = (
    ("lookup", {"what": "stock"}),
    ("put", {"what": "shelf"}),
    ("pay", {"what": "bill"}),
    ("lookup", {"what": "balance"}),
)
ROUND_TWO: Final = (("ship", {"what": "parcel"}),)
EFFECTS: Final = {"lookup": "read", "put": "idempotent", "pay": "once", "ship": "once"}


def result_of(name: str, what: str, key: str) -> str:
    """What a tool gives back."""
    return f"{name} of {what} under {key}: " + "as it should be, " * 14


def tools(client: Client) -> list[Tool]:
    def done(name: str, what: str, context: ToolContext) -> str:
        client.remote.do(name, key=context.idempotency_key, what=what)
        return result_of(name, what, context.idempotency_key)

    @tool(effect="read")
    def lookup(what: str, context: ToolContext) -> str:
        return done("lookup", what, context)

    @tool(effect="idempotent")
    async def put(what: str, context: ToolContext) -> str:
        return done("put", what, context)

    @tool
    async def pay(what: str, context: ToolContext) -> str:
        return done("pay", what, context)

    @tool(effect="once")
    def ship(what: str, context: ToolContext) -> str:
        return done("ship", what, context)

    return [lookup, put, pay, ship]


def model(asked: Asked) -> Reply:
    """Its answer depends on the end of the history alone."""
    usage = {"prompt_tokens": len(json.dumps(asked.messages)) // 4}
    if not asked.tools:
        return Reply(text=NOTE, usage=usage)
    if asked.last == "user":
        if asked.last_user_text == STEPS["work"]:
            return Reply(text="On it.", calls=Reply.calling(*ROUND_ONE).calls, usage=usage)
        return Reply(text=f"Heard: {asked.last_user_text}", usage=usage)
    before = next(m for m in reversed(asked.messages) if m["role"] == "assistant")
    if before["tool_calls"][0]["function"]["name"] == "lookup":
        return Reply(calls=Reply.calling(*ROUND_TWO).calls, usage=usage)
    return Reply(text="All done.", usage=usage)


def service(url: str) -> OpenAIChatService:
    return OpenAIChatService(model="scripted", base_url=url, api_key="key", attempts=1)


def build(client: Client) -> StatefulAgentLoop:
    return StatefulAgentLoop(
        llm=client.prepared,
        tools=tools(client),
        config=AgentLoopConfig(system_prompt="Be brief.", context_window=WINDOW),
        db_path=client.db_path,
        world=client.world,
    )


async def work(client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    for request, text in STEPS.items():
        await client.send(loop, text, SESSION, request_id=request)


def check(found: Evidence) -> Iterator[str]:
    """What the kit cannot know: this app's effects, results, notes and last words."""
    for line in found.remote.effects.items():
        if line[1] > 1:
            yield f"the remote did {line[0]} {line[1]} times"
    for session in found.sessions:
        yield from _calls(found, session.id)
        for row in session.table("compactions"):
            body = next(m["body"] for m in session.table("messages") if m["seq"] == row["note_seq"])
            if NOTE not in body:
                yield f"the note of compaction {row['number']} is {body}"
    if found.complete and {call["name"] for call in found.table("calls")} != set(EFFECTS):
        yield "the work was not done"


def _calls(found: Evidence, session_id: str) -> Iterator[str]:
    (session,) = found.sessions
    for call in session.table("calls"):
        key = session.key_of(call)
        if call["effect"] != EFFECTS[call["name"]]:
            yield f"{call['name']} is recorded as {call['effect']}"
        if call["state"] == "succeeded":
            what: dict[str, Any] = json.loads(call["arguments"])
            result = json.loads(next(m["body"] for m in session.table("messages") if m["seq"] == call["result_seq"]))
            if result["content"] != result_of(call["name"], what["what"], key):
                yield f"the result of {key} is {result['content']!r}"
            if not found.remote.effects[call["name"], key]:
                yield f"{key} of {call['name']} succeeded, and the remote never heard of it"


scenario: Final = Scenario(build=build, work=work, check=check, server="tests.crash.two_rounds:model", prepare=service)

WINDOWS: Final = windows.WINDOWS - {
    "several sessions open", "stopped on purpose", "waits for somebody", "decided, not taken up",
}  # fmt: skip
OUTCOMES: Final = frozenset(
    {
        "read requested -> succeeded",
        "once requested -> succeeded",
        "read started -> succeeded",
        "idempotent started -> succeeded",
        "once started -> reported",
        "once started -> aborted",
        "once requested -> aborted",
    }
)
"""Windows and ways of open calls that a sweep of this scenario must have seen."""
