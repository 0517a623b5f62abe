"""How a command gets at the store: to look, without a trace; or to change something."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from power_loop.cli.told import Told
from power_loop.config import AgentLoopConfig
from power_loop.stateful_loop import StatefulAgentLoop
from power_loop.store import SessionStore, open_store
from power_loop.tools import ToolRegistry


@dataclass(frozen=True, slots=True)
class Reading:
    """A loop over a store that only reads, and that store."""

    loop: StatefulAgentLoop
    store: SessionStore


@asynccontextmanager
async def reading(told: Told) -> AsyncIterator[Reading]:
    """Look only: nothing is written, no file is made, a process that writes at the same time is not disturbed."""
    store = await open_store(told.path, create=False, read_only=True)
    try:
        async with StatefulAgentLoop(store=store) as loop:
            yield Reading(loop, store)
    finally:
        await store.aclose()


@asynccontextmanager
async def changing(told: Told, tools: ToolRegistry | None = None) -> AsyncIterator[StatefulAgentLoop]:
    """Change a session that is there, without a model; `tools` only check what is given for their calls."""
    async with StatefulAgentLoop(db_path=told.path, create=False, tools=tools, config=AgentLoopConfig()) as loop:
        yield loop
