"""What the tests of events share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from power_loop import SessionEvent, StatefulAgentLoop, tool
from power_loop.engine.facts import Fact
from tests.loop.kit import open_loop

__all__ = ["LONG", "PATIENCE", "Recording", "all_events", "facts_of", "look", "open_loop", "taken", "write"]

PATIENCE = 60.0
"""Seconds after which something that should have come will not."""


LONG = "a long story about nothing much, told twice. " * 10
"""A few of these can be folded."""


@tool(effect="read")
async def look(n: int = 0) -> str:
    """Looks."""
    return f"saw {n}"


@tool(effect="idempotent")
async def write() -> str:
    """Writes."""
    return "written"


class Recording:
    """A sink that keeps what it took in."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    async def record(self, facts: Any) -> None:
        self.facts += facts

    async def aclose(self) -> None:
        return None


async def all_events(loop: StatefulAgentLoop, session: str, after: int = 0) -> list[SessionEvent]:
    """What happened so far; numbered on from the cursor, at times that never go back."""
    found = [event async for event in loop.events(session, after=after, follow=False)]
    assert [event.number for event in found] == list(range(after + 1, after + 1 + len(found)))
    assert [event.at for event in found] == sorted(event.at for event in found)
    return found


def facts_of(events: list[SessionEvent]) -> list[Any]:
    return [event.event for event in events if event.number is not None]


async def taken(events: AsyncIterator[SessionEvent], number: int) -> list[SessionEvent]:
    """Events up to and with the fact of that number."""
    found = []
    async for event in events:
        found.append(event)
        if event.number == number:
            break
    return found


def database(folder: Path) -> Path:
    return folder / "agent.db"


async def until(question: Callable[[], bool]) -> None:
    while not question():  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)
