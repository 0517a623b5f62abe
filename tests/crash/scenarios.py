"""The scenarios of the sweep, by name: A1's, and one for every seed, as `tests.crash.scenarios:seed_17`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from power_loop import (
    AgentLoopConfig,
    Done,
    NotDone,
    SessionBusyError,
    SessionPendingError,
    StatefulAgentLoop,
    Tool,
    ToolContext,
    tool,
)
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence
from power_loop.testing.crash.place import append, lines
from tests.crash import two_rounds
from tests.crash.plans import Act, Plan, plan_of

HERE: Final = "tests.crash.scenarios"
NOTE: Final = "What was said before, in short."
SLOW: Final = 0.03
"""Seconds a slow tool takes."""
LIMIT: Final = 0.02
PERSONS: Final = 10
"""How often somebody looks at what is in doubt; another process may put it in doubt again."""
POLL: Final = 0.003


def __getattr__(name: str) -> Scenario:
    """`seed_17`."""
    kind, _, seed = name.partition("_")
    if kind != "seed" or not seed.isdigit():
        raise AttributeError(name)
    return scenario_of(plan_of(int(seed)))


def names(seed: int, count: int) -> list[str]:
    """A1's scenario, and others for the seed."""
    return [two_rounds.NAME, *(f"{HERE}:seed_{seed * 1000 + number}" for number in range(1, count))]


def scenario_of(plan: Plan) -> Scenario:
    return Scenario(
        build=partial(build, plan),
        work=partial(work, plan),
        check=partial(check, plan),
        processes=len(plan.clients),
        config=AgentLoopConfig(**plan.settings()),
    )


def build(plan: Plan, client: Client) -> StatefulAgentLoop:
    return StatefulAgentLoop(
        llm=ScriptedModel(partial(model, {act.text: act for act in plan.acts})),
        tools=tools(client),
        config=AgentLoopConfig(**plan.settings()),
        db_path=client.db_path,
        world=client.world,
    )


def model(acts: dict[str, Act], asked: Asked) -> Reply:
    """Its answer depends on the history alone: which act was asked for last, and which round of it was answered."""
    usage = {"prompt_tokens": len(json.dumps(asked.messages)) // 4}
    act = acts.get(asked.last_user_text)
    if not asked.tools or act is None:
        return Reply(text=NOTE if not asked.tools else f"Heard: {asked.last_user_text}", usage=usage)
    done = 0
    if asked.last == "tool":
        before = next(m for m in reversed(asked.messages) if m["role"] == "assistant")
        done = 1 + int(before["content"].rpartition(" ")[2])
    if done == len(act.rounds):
        return Reply(text=f"Done: {act.request}.", usage=usage, delay=act.delay)
    wanted = [_call(name, f"{act.request} {done}.{place}") for place, name in enumerate(act.rounds[done])]
    return Reply(text=f"Round {done}", calls=Reply.calling(*wanted).calls, usage=usage, delay=act.delay)


def _call(name: str, what: str) -> tuple[str, Any]:
    if name == "malformed":
        return "look", f'{{"what": "{what}'
    if name == "wrong":
        return "pay", {"what": 7}
    return name, {"what": what}


def tools(client: Client) -> list[Tool]:
    """One of every kind. Each has an effect outside, under its key, and says that it was entered."""

    def does(name: str, what: str, context: ToolContext) -> str:
        append(entered(client), {"what": what})
        client.remote.do(name, key=context.idempotency_key, what=what)
        return f"{name}: {what}"

    @tool(effect="read")
    def look(what: str, context: ToolContext) -> str:
        return does("look", what, context)

    @tool(effect="read")
    async def look_slowly(what: str, context: ToolContext) -> str:
        await asyncio.sleep(SLOW)
        return does("look_slowly", what, context)

    @tool(effect="idempotent")
    async def put(what: str, context: ToolContext) -> str:
        return does("put", what, context)

    @tool(effect="idempotent")
    def put_slowly(what: str, context: ToolContext) -> str:
        done = does("put_slowly", what, context)
        time.sleep(SLOW)
        return done

    @tool
    async def pay(what: str, context: ToolContext) -> str:
        return does("pay", what, context)

    @tool
    async def pay_slowly(what: str, context: ToolContext) -> str:
        done = does("pay_slowly", what, context)
        await asyncio.sleep(SLOW)
        return done

    @tool
    def ship(what: str, context: ToolContext) -> str:
        return does("ship", what, context)

    @tool(parallel=True)
    async def order(what: str, context: ToolContext) -> str:
        return does("order", what, context)

    def refunded(context: ToolContext, arguments: dict[str, Any]) -> Done | NotDone:
        found = client.remote.find("refund", context.idempotency_key)
        return NotDone() if found is None else Done(f"refund: {arguments['what']}")

    @tool(reconcile=refunded)
    async def refund(what: str, context: ToolContext) -> str:
        return does("refund", what, context)

    @tool(effect="idempotent")
    def breaks(what: str, context: ToolContext) -> str:
        raise ValueError(f"{does('breaks', what, context)} went wrong")

    @tool(effect="idempotent", timeout=LIMIT)
    async def late(what: str, context: ToolContext) -> str:
        done = does("late", what, context)
        await asyncio.sleep(1)
        return done

    @tool(effect="once", timeout=LIMIT)
    def late_in_a_thread(what: str, context: ToolContext) -> str:
        done = does("late_in_a_thread", what, context)
        time.sleep(LIMIT * 3)
        return done

    return [
        look, look_slowly, put, put_slowly, pay, pay_slowly, ship, order, refund, breaks, late, late_in_a_thread,
    ]  # fmt: skip


def entered(client: Client) -> Path:
    return client.place.folder / "entered"


async def work(plan: Plan, client: Client, loop: StatefulAgentLoop) -> None:
    for session in plan.sessions:
        await client.create(loop, session)
    for wave in plan.clients[client.number]:
        async with asyncio.TaskGroup() as group:
            for act in wave:
                group.create_task(_act(client, loop, act))


async def _act(client: Client, loop: StatefulAgentLoop, act: Act) -> None:
    """One input; where it is to be stopped, that is once a tool of it was entered."""
    options: dict[str, Any] = {"request_id": act.request, "stream": act.manner == "stream", "if_busy": act.busy}
    if client.on_pending == "raise":
        options["on_pending"] = "resume"  # what an earlier stop left open is taken up
    if act.stop is None:
        await _sent(client, loop, act, options)
        return
    stop = asyncio.Event()
    seen = _entered(client, act)
    sending = asyncio.create_task(_sent(client, loop, act, options | {"stop_event": stop}))
    try:
        while not sending.done() and _entered(client, act) == seen:  # noqa: ASYNC110 - a file says so
            await asyncio.sleep(POLL)
        if act.stop == "cancel":
            sending.cancel()
        elif act.stop == "request_stop" and act.session is not None:
            await loop.request_stop(act.session)
        stop.set()
        await asyncio.wait([sending])
    finally:
        sending.cancel()
    if not sending.cancelled():
        sending.result()


async def _sent(client: Client, loop: StatefulAgentLoop, act: Act, options: dict[str, Any]) -> None:
    """Where what is open needs a person, one decides."""
    for _ in range(PERSONS):
        try:
            await client.send(loop, act.text, act.session, **options)
            return
        except SessionPendingError as refused:
            await _decided(client, loop, refused.session_id)
    raise AssertionError(f"{act.request} is refused again and again")


async def _decided(client: Client, loop: StatefulAgentLoop, session: str) -> None:
    """A person waits until nobody drives the session: those who resume it without one find it as it was."""
    while True:
        try:
            await client.decide(loop, session)
            return
        except SessionBusyError:
            await asyncio.sleep(POLL)


def _entered(client: Client, act: Act) -> int:
    return sum(line["what"].startswith(f"{act.request} ") for line in lines(entered(client)))


def check(plan: Plan, found: Evidence) -> Iterator[str]:
    """Effects of this app: what succeeded happened outside, once; what happened there is in the ledger."""
    calls = {session.key_of(call): call for session in found.sessions for call in session.table("calls")}
    effects = found.remote.effects
    for (name, key), count in effects.items():
        if count != 1 or key not in calls or calls[key]["name"] != name:
            yield f"the remote did {name} {count} times under {key}, a call of {calls.get(key, {}).get('name')}"
    for key, call in calls.items():
        if call["state"] == "succeeded" and not effects[call["name"], key]:
            yield f"call {key} of {call['name']} succeeded, and the remote never heard of it"
    if found.complete:
        stored = {row["request_id"] for table in ("turns", "inputs") for row in found.table(table)}
        yield from (f"{act.request} was never stored" for act in plan.acts if act.request not in stored)
