"""A small database with something in every table and in every column that holds text."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from llm_client import ScriptedLLM
from llm_client.errors import ModelServerError
from llm_client.messages import AssistantMessage, ToolCall
from llm_client.scripted import calls
from llm_client.service import Usage
from power_loop import AgentLoopConfig, InDoubt, ModelError, StatefulAgentLoop, Status, open_store, tool
from power_loop.store.contract import Input
from power_loop.values import InputMode, SessionId
from tests.store.kit import copied

SESSIONS = ("alpha", "beta", "gamma", "delta", "epsilon")


@tool(effect="read")
def look(what: str) -> str:
    """Looks at something."""
    seen = f"saw {what} \N{GRINNING FACE}"
    return seen if what != "x" else f"{seen}, {'and more of it, ' * 20}which is too long to be shown at once"


async def build(path: Path) -> None:
    """`alpha` has turns, calls, a large result and a compaction; `beta`, below it, a failed turn and two
    inputs that wait; `gamma` a call that waits for a person; `delta` a turn that runs, with a request to stop it;
    `epsilon` calls that were approved, denied and answered by the host, and one of each that waits."""
    running = asyncio.Event()

    @tool
    async def pay(amount: int) -> str:
        """Pays."""
        running.set()
        await asyncio.Event().wait()
        return "paid"

    @tool(approval="it costs money")
    def order(what: str) -> str:
        """Orders."""
        return f"ordered {what}"

    @tool(external=True)
    def locate() -> str:
        """Where the user is; the host knows."""
        raise AssertionError

    thinking = AssistantMessage(
        content="looking", tool_calls=(ToolCall(id="c1", name="look", arguments='{"what": "x"}'),
                                       ToolCall(id="c2", name="gone", arguments="{broken")),
        provider={"reasoning_content": "hm, hm", "signature": [1, {"a": "b"}]},
    )  # fmt: skip
    llm = ScriptedLLM(
        [
            "hello to you",
            thinking,
            "I saw it",
            "the note of what was said",
            "after the fold",
            ModelServerError("the model is down"),
            calls(("look", {"what": "y"}), ("pay", {"amount": 3})),
            calls(("locate", {}), ("order", {"what": "tea"}), ("order", {"what": "a yacht"})),
            calls(("locate", {}), ("order", {"what": "cake"})),
        ],
        usage=lambda request, _: Usage(
            prompt_tokens=200 if len(request.messages) > 5 else 20,
            completion_tokens=7,
            cached_tokens=5,
            reasoning_tokens=3,
        ),
    )
    config = AgentLoopConfig(context_window=256, system_prompt="You are kind.", in_doubt=InDoubt.ASK)
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look, pay, order, locate], config=config) as loop:
        await loop.create_session("alpha", metadata={"team": "blue"}, model="small-1")
        await loop.create_session("beta", parent="alpha", metadata={"n": 2})
        await loop.create_session("gamma")
        await loop.create_session("delta")
        await loop.send("hello", "alpha", request_id="first", metadata={"from": "ann"})
        await loop.send("look at x", "alpha", request_id="second")
        await loop.send("go on", "alpha")
        with suppress(ModelError):
            await loop.send("are you there?", "beta")
        sending = asyncio.create_task(loop.send("pay three", "gamma"))
        await running.wait()
        sending.cancel()
        await asyncio.wait([sending])
        result = await loop.resume("gamma")
        assert result.status is Status.PENDING_TOOLS, result
        await loop.resolve("gamma", "call_1", report=True)
        await loop.create_session("epsilon", approvals={"look": "never"})
        await loop.send("order something", "epsilon")
        await loop.approve("epsilon", "call_1", arguments={"what": "coffee"}, by="ann")
        await loop.deny("epsilon", "call_2", "too dear", by="ann")
        result = await loop.submit_results("epsilon", {"call_0": "at home"})
        assert result.status is Status.AWAITING_APPROVAL, result
    store = await open_store(path)
    for word, mode in (("first", InputMode.WAIT), ("more", InputMode.STEER)):
        body = f'{{"role":"user","content":"{word}, when you can"}}'
        await store.queue_input(
            Input(session=SessionId("beta"), body=body, request_id=word, metadata='{"n":1}', queue=mode)
        )
    await store.aclose()


async def write(folder: Path) -> Path:
    """The sample as one file."""
    live = folder / "live.db"
    await build(live)
    store = await open_store(live)
    await store.begin_turn(Input(session=SessionId("delta"), body='{"role":"user","content":"a long job"}'))
    assert await store.request_stop(SessionId("delta"), "the building closes")
    path = copied(live, folder / "sample.db")
    await store.aclose()
    return path
