"""The app of the schedules: a model whose answers follow from the input's text, and tools that keep account."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llm_client.errors import ModelError
from llm_client.messages import parse
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest
from power_loop import Tool, ToolContext, tool
from power_loop.transcript.rules import violations

TOOLS = ("look", "put", "pay", "fail")
SUMMARY = "You write the memory of an assistant"


@dataclass
class Account:
    """What models and tools of one schedule saw."""

    chance: random.Random
    requests: int = 0
    problems: list[str] = field(default_factory=list)
    entered: Counter[str] = field(default_factory=Counter)
    """By idempotency key: how often the function was."""
    names: dict[str, str] = field(default_factory=dict)
    """The tool, by idempotency key."""
    attempts: set[tuple[str, int]] = field(default_factory=set)
    inside: Counter[str] = field(default_factory=Counter)
    """By session: how many are in a model or a tool of it right now."""
    at_once: Counter[str] = field(default_factory=Counter)
    """By session: the most turns that were ever in the model together."""
    waits: int = 0

    @contextmanager
    def asking(self, session: str) -> Iterator[None]:
        self.inside[session] += 1
        self.at_once[session] = max(self.at_once[session], self.inside[session])
        try:
            yield
        finally:
            self.inside[session] -= 1

    async def linger(self) -> None:
        """Take some time, or none."""
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(self.chance.choice((0, 0, 0.004, 0.06)))


def content(message: dict[str, Any]) -> str:
    text = message.get("content") or ""
    return text if isinstance(text, str) else json.dumps(text)


def session_of(text: str) -> str:
    """Inputs say which session they are for."""
    return text.partition(" ")[0]


def plan(text: str) -> list[list[str]]:
    """The rounds of calls that an input leads to: always the same for the same text."""
    chance = random.Random(text)
    rounds = chance.choice((0, 1, 1, 2))
    return [[chance.choice(TOOLS) for _ in range(chance.randint(1, 3))] for _ in range(rounds)]


def model(account: Account) -> ScriptedLLM:
    """Checks what it is asked, then goes on with the plan of the last input."""

    async def answer(request: ChatRequest) -> Any:
        account.requests += 1
        messages = [json.loads(text) for text in request.messages]
        account.problems += [f"a request was invalid: {wrong}" for wrong in violations(map(parse, request.messages))]
        if content(messages[0]).startswith(SUMMARY):
            await account.linger()
            return "what was said before"
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        text = content(messages[last])
        with account.asking(session_of(text)):
            await account.linger()
        done = sum("tool_calls" in message for message in messages[last:])
        if account.chance.random() < 0.03:
            return ModelError("no answer today")
        rounds = plan(text)
        if done < len(rounds) and request.tools:
            return calls(*((name, {"what": text}) for name in rounds[done]))
        return f"re {text}"

    return ScriptedLLM([answer] * 1000)


def tools(account: Account) -> list[Tool]:
    async def work(name: str, what: str, context: ToolContext) -> str:
        key = context.idempotency_key
        account.entered[key] += 1
        account.names[key] = name
        if (key, context.attempt) in account.attempts:
            account.problems.append(f"attempt {context.attempt} of {key} was made twice")
        account.attempts.add((key, context.attempt))
        if not what.startswith(context.session_id):
            account.problems.append(f"a call of {context.session_id} came with {what!r}")
        await account.linger()
        return f"{name} of {what}: " + "seen " * 8

    @tool(effect="read")
    async def look(what: str, context: ToolContext) -> str:
        return await work("look", what, context)

    @tool(effect="idempotent")
    async def put(what: str, context: ToolContext) -> str:
        return await work("put", what, context)

    @tool
    async def pay(what: str, context: ToolContext) -> str:
        return await work("pay", what, context)

    @tool
    async def fail(what: str, context: ToolContext) -> str:
        await work("fail", what, context)
        raise ValueError("it does not work")

    return [look, put, pay, fail]
