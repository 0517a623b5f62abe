"""A turn whose tools give large results, of which the model then reads a part: what is shown and the whole are one."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, Final

from power_loop import AgentLoopConfig, StatefulAgentLoop, Tool, ToolContext, tool
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence

NAME: Final = "tests.crash.large_result:scenario"
SESSION: Final = "the-session"
LIMIT: Final = 300
OFFSET, PART = 4_000, 200
HANDLE: Final = re.compile(r'recall_output\(handle="([\d.]+)"')
CONFIG: Final = AgentLoopConfig(result_limit=LIMIT)


def whole(name: str) -> str:
    return "".join(f"{name} line {number} \N{SNOWMAN}\n" for number in range(600))


def tools(client: Client) -> list[Tool]:
    @tool(effect="read")
    def report(name: str, context: ToolContext) -> str:
        client.remote.do("report", key=context.idempotency_key, what=name)
        return whole(name)

    @tool
    async def build(name: str, context: ToolContext) -> str:
        client.remote.do("build", key=context.idempotency_key, what=name)
        return whole(name)

    return [report, build]


def model(asked: Asked) -> Reply:
    """Two reports and a build, then a part of each result that it was shown in short, then the last word."""
    if asked.last == "user":
        if asked.last_user_text != "work":
            return Reply(text="Heard.")
        wanted = [("report", {"name": "a"}), ("build", {"name": "b"}), ("report", {"name": "c"})]
        return Reply(calls=Reply.calling(*wanted).calls)
    before = max(n for n, message in enumerate(asked.messages) if message["role"] == "assistant")
    shown = [HANDLE.search(message["content"]) for message in asked.messages[before + 1 :]]
    parts = [("recall_output", {"handle": handle[1], "offset": OFFSET, "limit": PART}) for handle in shown if handle]
    return Reply(calls=Reply.calling(*parts).calls) if parts else Reply(text="All read.")


def build(client: Client) -> StatefulAgentLoop:
    return StatefulAgentLoop(
        llm=ScriptedModel(model), tools=tools(client), config=CONFIG, db_path=client.db_path, world=client.world
    )


async def work(client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, "work", SESSION, request_id="work")


def check(found: Evidence) -> Iterator[str]:
    """A result says that it is shown in short exactly if the whole is there; what was recalled is of the whole."""
    for session in found.sessions:
        texts = {row["seq"]: json.loads(row["body"])["content"] for row in session.table("messages")}
        kept = {row["seq"]: zlib.decompress(row["data"]).decode() for row in session.table("outputs")}
        short = {seq for seq, text in texts.items() if text and "is shown in short" in text}
        if kept.keys() != short:
            yield f"messages {sorted(short)} are shown in short, {sorted(kept)} are kept whole"
        for call in session.table("calls"):
            if call["state"] != "succeeded":
                continue
            arguments: dict[str, Any] = json.loads(call["arguments"])
            seq, text = call["result_seq"], texts[call["result_seq"]]
            if call["name"] != "recall_output":
                if kept.get(seq) != whole(arguments["name"]):
                    yield f"message {seq} is not kept whole"
            elif text != kept[int(arguments["handle"].partition(".")[2])][OFFSET : OFFSET + PART]:
                yield f"message {seq} recalled {text!r}"
    if found.complete and not any(call["name"] == "recall_output" for call in found.table("calls")):
        yield "nothing was recalled"


scenario: Final = Scenario(build=build, work=work, check=check, config=CONFIG)
