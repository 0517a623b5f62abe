"""What the client of the sweep does: two plain turns, then one of two rounds with calls and a compaction in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from power_loop import (
    AgentLoopConfig,
    OpenAIChatService,
    StatefulAgentLoop,
    StatefulResult,
    Tool,
    ToolContext,
    World,
    tool,
)
from power_loop.errors import SessionExistsError
from power_loop.testing import Asked, Reply

SESSION: Final = "the-session"
STEPS: Final = {
    "first": "first of all: " + "the history that will be folded, line by line. " * 4,
    "second": "then this: " + "some more of the history that will be folded. " * 4,
    "work": "Do the work.",
}
AFTER: Final = "And now something else."
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


@dataclass(frozen=True)
class Place:
    """Where one case happens. The ledger and the acknowledgements lie outside the database's folder."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "db" / "agent.db"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def acknowledged(self) -> Path:
        return self.folder / "acknowledged"

    def report(self, child: str) -> Path:
        return self.folder / f"{child}.json"

    def error(self, child: str) -> Path:
        return self.folder / f"{child}.error"


def append(path: Path, line: dict[str, Any]) -> None:
    """A line that survives whatever happens next."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.fsync(descriptor)
    os.close(descriptor)


def result_of(name: str, what: str, key: str) -> str:
    """What a tool gives back."""
    return f"{name} of {what} under {key}: " + "as it should be, " * 14


def tools(place: Place, reached: Callable[[str], None]) -> list[Tool]:
    def work(name: str, what: str, context: ToolContext) -> str:
        line = {
            "tool": name,
            "what": what,
            "key": context.idempotency_key,
            "call": context.call_id,
            "attempt": context.attempt,
        }
        reached(f"tool.{name}.entered")
        append(place.ledger, {"event": "start", **line})
        reached(f"tool.{name}.started")
        append(place.ledger, {"event": "end", **line})
        reached(f"tool.{name}.ended")
        return result_of(name, what, context.idempotency_key)

    @tool(effect="read")
    def lookup(what: str, context: ToolContext) -> str:
        return work("lookup", what, context)

    @tool(effect="idempotent")
    async def put(what: str, context: ToolContext) -> str:
        return work("put", what, context)

    @tool
    async def pay(what: str, context: ToolContext) -> str:
        return work("pay", what, context)

    @tool(effect="once")
    def ship(what: str, context: ToolContext) -> str:
        return work("ship", what, context)

    return [lookup, put, pay, ship]


def model(asked: Asked) -> Reply:
    """The scripted model: its answer depends on the end of the history alone."""
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


@dataclass(frozen=True)
class Client:
    """One process of the app."""

    place: Place
    name: str
    llm: OpenAIChatService
    reached: Callable[[str], None]

    def loop(self, **changes: Any) -> StatefulAgentLoop:
        config = AgentLoopConfig(system_prompt="Be brief.", context_window=WINDOW, extra={"user": self.name})
        settings: dict[str, Any] = {
            "llm": self.llm,
            "tools": tools(self.place, self.reached),
            "config": config,
            "db_path": self.place.database,
            "world": World(reached=self.reached),
        }
        return StatefulAgentLoop(**settings | changes)

    async def create(self, loop: StatefulAgentLoop) -> None:
        if "create" not in acknowledgements(self.place):
            # An earlier try may have been committed, and its process have died before it heard of that.
            with suppress(SessionExistsError):
                await loop.create_session(SESSION)
            append(self.place.acknowledged, {"step": "create"})

    async def tell(self, loop: StatefulAgentLoop, step: str, text: str, **options: Any) -> StatefulResult:
        """Send an input as a careful client does: under a request id, and noting what was acknowledged."""
        result = await loop.send(text, SESSION, request_id=step, **options)
        append(
            self.place.acknowledged,
            {
                "step": step,
                "turn": result.turn,
                "status": result.status,
                "text": result.final_text,
                "pending": len(result.pending_tool_calls),
            },
        )
        return result

    async def tell_the_rest(self, loop: StatefulAgentLoop, **options: Any) -> None:
        """All that was not acknowledged yet, under the same request ids."""
        await self.create(loop)
        done = acknowledgements(self.place)
        for step, text in STEPS.items():
            if step not in done:
                await self.tell(loop, step, text, **options)


def acknowledgements(place: Place) -> dict[str, dict[str, Any]]:
    return {line["step"]: line for line in lines(place.acknowledged)}


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
