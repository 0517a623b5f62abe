"""G2, G3: whatever runs first, each fact comes once and in order, and no delta of an answer behind its fact.

A seed is a schedule: which callback is next, when the store's threads work, when time passes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_client.messages import parse, text_of
from llm_client.scripted import ScriptedLLM, calls
from llm_client.service import AttemptVoided, TextDelta
from power_loop import SessionEvent, StatefulAgentLoop
from power_loop.compaction.strategies import SlidingWindow
from power_loop.engine import facts as f
from power_loop.events import SessionEvents
from tests.events.kit import LONG, all_events, look, taken
from tests.interleaving.shuffled import ShuffledLoop, stepped_threads

TURNS, FACTS = 4, 6
LAST = TURNS * FACTS + 1
"""The fact behind all turns: that the history was folded."""


async def played(path: Path, seed: int) -> tuple[list[list[SessionEvent]], list[SessionEvent]]:
    """What readers heard who came at different times, and what there was to hear."""
    script = [calls(("look", {"n": seed}), text="let me have a look"), LONG] * TURNS
    async with (
        StatefulAgentLoop(llm=ScriptedLLM(script, piece=40), db_path=path, tools=[look]) as loop,
        StatefulAgentLoop(db_path=path) as other,
    ):
        session = await loop.create_session()

        def readers(after: int) -> list[asyncio.Task[list[SessionEvent]]]:
            made: list[SessionEvents] = [loop.events(session, after=after, deltas=deltas) for deltas in (True, False)]
            made.append(other.events(session, after=after))
            return [asyncio.create_task(taken(events, LAST)) for events in made]

        reading = readers(0)
        for number in range(TURNS):
            sending = asyncio.create_task(loop.send(f"turn {number} {LONG}", session))
            reading += readers(0) if number else readers(number)
            await sending
        assert await other.compact(session, strategy=SlidingWindow(turns=1)) is not None
        heard = [await task for task in reading]
        return heard, await all_events(loop, session)


def in_order(heard: list[SessionEvent]) -> None:
    """Deltas are of the answer whose fact comes next; those heard from its beginning are all of it."""
    said, begun = "", False
    for event in heard:
        if isinstance(event.event, TextDelta):
            said += event.event.text
        elif isinstance(event.event, AttemptVoided):
            said = ""
        elif isinstance(event.event, f.AnswerReceived | f.CallsRequested):
            whole = text_of(parse(event.event.message.body, event.event.message.provider).content)
            assert whole.endswith(said), f"deltas {said!r} before the fact of {whole!r}"
            assert not begun or said in ("", whole)
            said = ""
        elif isinstance(event.event, f.TurnBegan | f.RoundClosed):
            assert said == "", f"deltas {said!r} before {event.event}"


@pytest.mark.acceptance("G2", "G3")
@pytest.mark.parametrize("seed", range(60))
def test_in_any_order_each_fact_comes_once(seed: int, tmp_path: Path) -> None:
    with stepped_threads():
        loop = ShuffledLoop(seed)
        try:
            heard, whole = loop.run_until_complete(played(tmp_path / "agent.db", seed))
        finally:
            loop.close()
    assert len(whole) == LAST
    for one in heard:
        assert [event for event in one if event.number is not None] == whole
        in_order(one)
    assert any(event.number is None for event in heard[0]) or seed, "nobody heard anything live"
