"""One session for as long as you like, in a small window: `python -m tests.compaction.long_run --rounds 20000`.

A real loop over a real file. The model is in process and refuses what the provider would: histories that break the
protocol, and requests longer than its window. Turns of hundreds of rounds; every few turns a fresh process's loop goes
on. Tools give results of all sizes, some so large that two of them are half the window.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from llm_client.service import Answer, ChatRequest, StreamEvent
from power_loop import AgentLoopConfig, ContextOverflowError, StatefulAgentLoop, Tool, World, tool
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.testing import Asked, Reply, ScriptedModel, completions, protocol
from power_loop.testing.model import body_of
from power_loop.transcript.recall import handle_of

WINDOW: Final = 8_000
PROMPT: Final = "You mind the greenhouse. Whatever happens: never open vent 7."
PINNED: Final = "Standing order: report in degrees Celsius. The word of the day is tulip."
LADDER: Final = ("clear_tool_results", "summary")
BY_TIME: Final = {
    "sql.begin", "sql.commit", "sql.advance_session", "sql.data_version", "sql.stops_requested",
    "sql.sessions_with_inputs",
}  # fmt: skip
"""How often these are run depends on what is committed together, and how long it takes."""

MOST: Final = 6_000
"""Characters of the largest result."""


def result_of(seed: int, step: int, part: int) -> str:
    """What a call gives: short mostly, long now and then, of several kinds; the same for the same step."""
    chance = random.Random(f"{seed}.{step}.{part}")
    size = round(MOST ** chance.uniform(0.3, 1.0))
    kind = chance.choice(("words", "words", "json", "wide", "hex"))
    match kind:
        case "words":
            text = f"reading {step}.{part} is fine; " * (size // 20 + 1)
        case "json":
            text = json.dumps([{"step": step, "n": n, "ok": True} for n in range(size // 40 + 1)])
        case "wide":
            text = f"{step}.{part} 温室の記録" * (size // 60 + 1)
        case _:
            text = chance.randbytes(size // 2 + 1).hex()
    return text[:size] or "."


@dataclass
class Model:
    """An `LLMService` that calls tools, ends a turn every so often, and sums up; and keeps watch on what it is sent."""

    rounds_a_turn: int
    seed: int = 1
    step: int = 0
    said: list[tuple[str, str]] = field(default_factory=list)
    """Role and text of all that was said, in the order of the session."""
    requests: int = 0
    summaries: int = 0
    refused: int = 0
    longest: int = 0
    """Tokens of the longest request."""
    most: int = 0
    """Messages of the request with the most."""
    marks: list[tuple[float, int]] = field(default_factory=list)
    """When each round was asked for, and how many statements had been run by then."""
    reached: Counter[str] = field(default_factory=Counter)
    request_of_turn: str = ""

    def __post_init__(self) -> None:
        self._script = ScriptedModel(self._reply)

    @property
    def model(self) -> str:
        return self._script.model

    @property
    def replay_reasoning(self) -> bool:
        return False

    async def complete(self, request: ChatRequest) -> Answer:
        size = completions.tokens(json.dumps(body_of(request, self.model)).encode())
        try:
            protocol.check_context(size, WINDOW)
        except protocol.ApiError as error:
            self.refused += 1
            raise ContextOverflowError(str(error), status=400, limit=WINDOW, requested=size) from error
        self.longest, self.most = max(self.longest, size), max(self.most, len(request.messages))
        return await self._script.complete(request)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        yield await self.complete(request)

    async def aclose(self) -> None:
        return None

    def statements(self) -> int:
        return sum(times for point, times in self.reached.items() if point.startswith("sql.") and point not in BY_TIME)

    def _reply(self, asked: Asked) -> Reply:
        messages = asked.body["messages"]
        if messages[0]["content"] == INSTRUCTIONS:
            self.summaries += 1
            return Reply(text=f"Summary {self.summaries}: all is well. " * (1 + self.summaries % 40))
        texts = [message["content"] for message in messages]
        assert texts[0] == PROMPT, "the system prompt is in every request"
        assert PINNED in texts, "and so is what is pinned"
        assert self.request_of_turn in texts, "and what the turn works on"
        self.requests += 1
        self.marks.append((time.monotonic(), self.statements()))
        if self.step and self.step % self.rounds_a_turn == 0 and messages[-1]["role"] == "tool":
            text = f"Done up to {self.step}."
            self.said.append(("assistant", text))
            return Reply(text=text)
        self.step += 1
        count = 1 + self.step % 3
        wanted = [(f"look_{part}", {"step": self.step, "place": f"bed {self.step % 17}"}) for part in range(count)]
        self.said.append(("assistant", json.dumps(wanted)))
        self.said.extend(("tool", result_of(self.seed, self.step, part)) for part in range(count))
        return Reply.calling(*wanted)


def tools(seed: int) -> Sequence[Tool]:
    def made(part: int) -> Tool:
        async def look(step: int, place: str) -> str:
            """Looks at a place in the greenhouse."""
            return result_of(seed, step, part)

        return tool(look, name=f"look_{part}", effect="read")

    return [made(part) for part in range(3)]


@dataclass(frozen=True)
class Told:
    """What became of it."""

    rounds: int
    turns: int
    requests: int
    summaries: int
    compactions: Counter[str]
    refused: int
    longest: int
    most: int
    active: int
    """The most rows that were active at the end of a turn."""
    stored: int
    statements: tuple[float, float]
    """A round, at the median, in the first tenth and in the last."""
    seconds: tuple[float, float]
    size: int
    """Of the file, in bytes."""

    @property
    def ratio(self) -> float:
        return self.seconds[1] / self.seconds[0]

    def __str__(self) -> str:
        how = ", ".join(f"{times} by {name}" for name, times in self.compactions.most_common())
        return (
            f"{self.rounds} rounds in {self.turns} turns, {self.requests} requests and {self.summaries} summaries; "
            f"{sum(self.compactions.values())} compactions ({how})\n"
            f"{self.refused} requests too long; the longest {self.longest} of {WINDOW} tokens, at most {self.most} "
            f"messages; at most {self.active} rows active of {self.stored}; {self.size / 1e6:.0f} MB\n"
            f"a round, first tenth and last: {self.statements[0]:g} and {self.statements[1]:g} statements, "
            f"{self.seconds[0] * 1000:.2f} and {self.seconds[1] * 1000:.2f} ms, ratio {self.ratio:.2f}"
        )


async def long_run(
    folder: Path,
    rounds: int,
    *,
    rounds_a_turn: int = 400,
    fresh_every: int = 3,
    ladder: Sequence[str] = LADDER,
    seed: int = 1,
) -> Told:
    """Run it, and check all that can be checked; what is left to judge is told."""
    model = Model(rounds_a_turn, seed)
    config = AgentLoopConfig(
        system_prompt=PROMPT, context_window=WINDOW, max_rounds=10 * rounds, compaction=list(ladder)
    )

    def reached(point: str) -> None:
        model.reached[point] += 1

    def opened() -> StatefulAgentLoop:
        return StatefulAgentLoop(
            llm=model, tools=tools(model.seed), db_path=folder / "agent.db", config=config, world=World(reached=reached)
        )

    loop, turns, active = opened(), 0, 0
    session = await loop.create_session("long")
    try:
        while model.step < rounds:
            if turns and turns % fresh_every == 0:
                await loop.aclose()
                loop = opened()
            model.request_of_turn = PINNED if turns == 0 else f"Go on from {model.step}."
            model.said.append(("user", model.request_of_turn))
            await loop.send(model.request_of_turn, session, pin=turns == 0)
            turns += 1
            active = max(active, len(await loop.get_messages(session)))
        stored = await loop.get_messages(session, include_compacted=True)
        originals = [message for message in sorted(stored, key=lambda message: message.seq) if not message.note]
        assert len(originals) == len(model.said) + 1
        for message, (role, text) in zip(originals[1:], model.said, strict=True):
            calls = [(call.name, json.loads(call.arguments)) for call in message.tool_calls]
            whole = json.dumps(calls) if calls else message.text
            if message.role == "tool" and (handle := handle_of(message.text, message.seq)) is not None:
                whole = await loop.recall_output(session, handle)
            assert (message.role, whole) == (role, text)
        done = Counter(one.strategy for one in await loop.get_compactions(session))
    finally:
        await loop.aclose()
    tenth = max(2, len(model.marks) // 10)
    first, last = (_a_round(part) for part in (model.marks[:tenth], model.marks[-tenth:]))
    return Told(
        rounds=model.step,
        turns=turns,
        requests=model.requests,
        summaries=model.summaries,
        compactions=done,
        refused=model.refused,
        longest=model.longest,
        most=model.most,
        active=active,
        stored=len(stored),
        statements=(first[1], last[1]),
        seconds=(first[0], last[0]),
        size=(folder / "agent.db").stat().st_size,
    )


def _a_round(marks: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Seconds and statements between two requests, at the median."""
    pairs = list(pairwise(marks))
    return median(b[0] - a[0] for a, b in pairs), median(b[1] - a[1] for a, b in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compaction.long_run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--rounds-a-turn", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1, help="what tools give")
    parser.add_argument("--strategy", action="append", help=f"in this order; else {' and '.join(LADDER)}")
    parser.add_argument("--most", type=float, default=1.5, help="the ratio of the last tenth's time to the first's")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="long-run-") as folder:
        told = asyncio.run(
            long_run(
                Path(folder),
                given.rounds,
                rounds_a_turn=given.rounds_a_turn,
                ladder=given.strategy or LADDER,
                seed=given.seed,
            )
        )
    print(told)
    wrong = told.refused or told.ratio > given.most or told.statements[0] != told.statements[1]
    print(
        f"{'FAILED' if wrong else 'ok'}: {told.rounds} rounds, ratio {told.ratio:.2f}, {time.monotonic() - begun:.0f} s"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
