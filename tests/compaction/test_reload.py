"""After any sequence of sends, compactions, undoings and restarts, a reload is what the model sees.

Kills come in through the crash kit: `tests.crash.folding`.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import ChatRequest, Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, tool
from power_loop.compaction.strategies import ClearToolResults, KeepFirstAndLast, SlidingWindow, UserWords
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.errors import CompactionError, CompactionNotFoundError
from power_loop.transcript.rules import violations

STRATEGIES: Sequence[Any] = (
    "summary", ClearToolResults(keep=1, over=5), KeepFirstAndLast(), "least_recently_used", SlidingWindow(turns=1),
    UserWords(tokens=50),
)  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 60), st.booleans()),
    st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 60), st.just(False)),
    st.tuples(st.just("compact"), st.integers(0, len(STRATEGIES) - 1), st.just(0), st.just(False)),
    st.tuples(st.just("undo"), st.just(0), st.just(0), st.just(False)),
    st.tuples(st.just("restart"), st.just(0), st.just(0), st.just(False)),
)


@tool(effect="read")
async def look(size: int) -> str:
    """Looks."""
    return "seen " * size


class Model:
    """Calls tools as often as the last input says; its usage is what the request comes to."""

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []
        self.rounds = 0
        """Of the turn that runs: those it folds it no longer sees."""
        self.llm = ScriptedLLM([self._said] * 2000, usage=self._usage)

    def _said(self, request: ChatRequest) -> Any:
        if INSTRUCTIONS in request.messages[0]:
            return f"note {len(request.messages[1])}"
        self.asked.append(request)
        said = [json.loads(text) for text in request.messages]
        last = max(number for number, one in enumerate(said) if one["role"] == "user" and "rounds" in one["content"])
        done = sum(one["role"] == "assistant" for one in said[last:])
        rounds, size = map(int, said[last]["content"].split()[1:3])
        if done >= rounds or self.rounds >= rounds:
            return f"answer {done}"
        self.rounds += 1
        return calls(("look", {"size": size}), ("look", {"size": 1}))

    @staticmethod
    def _usage(request: ChatRequest, _: object) -> Usage:
        return Usage(prompt_tokens=sum(map(len, request.messages)) // 4, completion_tokens=5)


async def lives(folder: Path, steps: Sequence[tuple[str, int, int, bool]]) -> None:
    model = Model()
    config = AgentLoopConfig(
        system_prompt="be good", context_window=500, compact_at=0.7, synchronous="NORMAL", compaction=STRATEGIES[0]
    )

    def opened() -> StatefulAgentLoop:
        return StatefulAgentLoop(llm=model.llm, tools=[look], db_path=folder / "agent.db", config=config)

    loop = opened()
    await loop.create_session("s")
    pinned, original = [], 0
    try:
        for what, number, size, pin in [*steps, ("send", 1, 5, False)]:
            if what == "restart":
                await loop.aclose()
                loop = opened()
            elif what == "send":
                text = f"rounds {number} {size} of it"
                model.rounds = 0
                await loop.send(text, "s", pin=pin)
                pinned += [text] if pin else []
                original += 2 + 3 * model.rounds
                seen = [message.body for message in (await loop.get_messages("s"))[:-1]]
                assert seen == list(model.asked[-1].messages), "a reload is what the model saw"
            else:
                try:
                    if what == "undo":
                        await loop.undo_compaction("s")
                    else:
                        await loop.compact("s", strategy=STRATEGIES[number])
                except (CompactionError, CompactionNotFoundError):
                    continue
            now = await loop.get_messages("s")
            assert violations(message.message for message in now) == []
            assert now[0].text == "be good"
            assert [message.text for message in now if message.pinned][1:] == pinned
            assert sum(message.note and message.role == "user" for message in now) <= 1
            every = await loop.get_messages("s", include_compacted=True)
            assert sum(not message.note for message in every) == original + 1, "every original row is there"
    finally:
        await loop.aclose()


@pytest.mark.acceptance("E2", "E3", "E8")
@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=3, max_size=14))
def test_a_reload_is_what_the_model_sees(steps: list[tuple[str, int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lives(Path(folder), steps))
