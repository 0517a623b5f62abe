"""What the process under test does: scripted turns, each with a plan that stands in its own input."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest, Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, StatefulResult, Tool, ToolContext, tool
from power_loop.errors import SessionExistsError

EFFECTS: Final = {"lookup": "read", "put": "idempotent", "pay": "once", "ship": "once"}
NOTE: Final = "What was said before, in short."
LAST: Final = "chat: and now something else"
_LETTERS: Final = "abcdefgh ijklmnop\nqrst uvwxyz  äöü ж字\N{GRINNING FACE}"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Sessions, each with the inputs that it is sent, one after the other; the sessions at once."""

    name: str
    seed: int
    inputs: dict[str, list[str]]
    window: int = 10_000_000
    lives: int = 1
    """How often the loop is closed and opened again in between."""
    base: Path | None = None
    """The database that is there at the beginning."""

    def requests(self, session: str) -> Iterator[tuple[str, str]]:
        """Each input with its request id."""
        return ((f"{session}/{number}", text) for number, text in enumerate(self.inputs[session]))


@dataclass(frozen=True)
class Place:
    """Where it happens. What the tools did and what was acknowledged lie outside the folder of the database."""

    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "db"

    @property
    def database(self) -> Path:
        return self.files / "agent.db"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def acknowledged(self) -> Path:
        return self.folder / "acknowledged"


def _text(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_LETTERS, k=length))


def _chat(chance: random.Random, longest: int) -> str:
    return f"chat: {_text(chance, chance.randint(10, longest))}"


def _work(chance: random.Random) -> str:
    rounds = [
        " ".join(chance.choice(("lookup", "lookup", "put", "pay")) for _ in range(chance.randint(1, 4))),
        chance.choice(("ship", "ship lookup", "put put")),
    ]
    return f"work: {', '.join(rounds[: chance.randint(1, 2)])}; {_text(chance, chance.randint(0, 200))}"


def _short(chance: random.Random) -> dict[str, Any]:
    return {"inputs": {"one": [_chat(chance, 9000), _work(chance), _chat(chance, 300)]}}


def _parallel(chance: random.Random) -> dict[str, Any]:
    plan = "work: lookup put lookup pay lookup, ship lookup put; in parallel"
    return {"inputs": {"one": [plan, _work(chance), plan]}}


def _compaction(chance: random.Random) -> dict[str, Any]:
    long = [f"chat: {_text(chance, 500)}" for _ in range(3)]
    return {"inputs": {"one": [*long, "work: lookup pay, ship; after the fold", *long, _work(chance)]}, "window": 1500}


def _together(chance: random.Random) -> dict[str, Any]:
    names = ("one", "two", "three")
    return {"inputs": {name: [_work(chance), _chat(chance, 4000), _work(chance)] for name in names}}


def _checkpoint(chance: random.Random) -> dict[str, Any]:
    before = [f"chat: {_text(chance, 150_000)}" for _ in range(7)]
    return {"inputs": {"one": [*before, *(_work(chance) for _ in range(3)), _chat(chance, 9000)]}}


def _reopened(chance: random.Random) -> dict[str, Any]:
    return {"inputs": {"one": [_chat(chance, 5000), _work(chance), _chat(chance, 500), _work(chance)]}, "lives": 3}


def _upgrade(chance: random.Random) -> dict[str, Any]:
    oldest = Path(__file__).parents[1] / "corpus" / "schema_0001.db"
    return {"inputs": {"one": [_work(chance), _chat(chance, 500)]}, "base": oldest}


def _turn(chance: random.Random) -> dict[str, Any]:
    return {"inputs": {"one": ["work: lookup put pay lookup, ship; a turn"]}}


KINDS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "short": _short,
    "parallel": _parallel,
    "compaction": _compaction,
    "together": _together,
    "checkpoint": _checkpoint,
    "reopened": _reopened,
    "upgrade": _upgrade,
    "turn": _turn,
}


def scenario(kind: str, seed: int) -> Scenario:
    return Scenario(name=kind, seed=seed, **KINDS[kind](random.Random(f"{kind} {seed}")))


def answer(request: ChatRequest) -> str | AssistantMessage:
    """The scripted model. What it says depends on the history alone, so a resumed turn goes on as the first would."""
    if not request.tools:
        return NOTE
    history = [json.loads(text) for text in request.messages]
    asked = max(at for at, m in enumerate(history) if m["role"] == "user" and m["content"][:6] in ("chat: ", "work: "))
    text = history[asked]["content"]
    if text.startswith("chat: "):
        return heard(text)
    plan = text.removeprefix("work: ").partition(";")[0].split(", ")
    done = sum(message["role"] == "assistant" for message in history[asked:])
    if done < len(plan):
        return calls(*((name, {"what": f"{name} {at}"}) for at, name in enumerate(plan[done].split())))
    return heard(text)


def heard(text: str) -> str:
    """The last word of the turn that an input begins."""
    return f"Heard: {text}"


def model() -> ScriptedLLM:
    def bill(request: ChatRequest, _: AssistantMessage) -> Usage:
        return Usage(prompt_tokens=sum(map(len, request.messages)) // 4, completion_tokens=7)

    return ScriptedLLM([answer] * 1000, usage=bill)


def append(path: Path, line: dict[str, Any]) -> None:
    """A line that survives whatever happens next: it stands for the world outside."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.fsync(descriptor)
    os.close(descriptor)


def tools(place: Place) -> list[Tool]:
    def work(name: str, what: str, context: ToolContext) -> str:
        line = {"tool": name, "what": what, "key": context.idempotency_key, "attempt": context.attempt}
        append(place.ledger, {"event": "start", **line})
        append(place.ledger, {"event": "end", **line})
        return f"{what} done under {context.idempotency_key}"

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


def a_loop(place: Place, of: Scenario, *, bare: bool = False, **settings: Any) -> StatefulAgentLoop:
    """A loop over the database of a place; `bare`: with neither model nor tools."""
    config = AgentLoopConfig(system_prompt="Be brief.", context_window=of.window, **settings)
    if bare:
        return StatefulAgentLoop(db_path=place.database, config=config)
    return StatefulAgentLoop(llm=model(), tools=tools(place), db_path=place.database, config=config)


async def create(loop: StatefulAgentLoop, session: str) -> dict[str, Any]:
    """A session of that name, whether or not it is there already; the acknowledgement."""
    with suppress(SessionExistsError):
        await loop.create_session(session)
    return {"session": session, "step": "create"}


def acknowledgement(step: str, result: StatefulResult) -> dict[str, Any]:
    return {
        "session": result.session_id,
        "step": step,
        "turn": result.turn,
        "status": str(result.status),
        "text": result.final_text,
        "rounds": result.rounds,
    }


def lines(raw: bytes) -> list[dict[str, Any]]:
    """The lines that were finished."""
    return [json.loads(line) for line in raw.split(b"\n")[:-1]]


def told(path: Path) -> list[dict[str, Any]]:
    return lines(path.read_bytes()) if path.exists() else []


def split(inputs: Iterable[Any], parts: int) -> list[list[Any]]:
    """In order, into so many parts of about the same length."""
    found = list(inputs)
    return [found[len(found) * n // parts : len(found) * (n + 1) // parts] for n in range(parts)]
