"""Events that are only ever live: what a model is about to say, how far a tool is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from llm_client.service import AttemptVoided, Json, ReasoningDelta, TextDelta, ToolCallDelta
from power_loop.engine.facts import Fact
from power_loop.values import SessionId


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """What a running tool said through `ToolContext.emit`."""

    call_id: str
    name: str
    progress: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """One event of a session, as `loop.events()` gives it."""

    session_id: SessionId
    number: int | None
    """Its place among the session's facts, from 1: a cursor. None: it is live only."""
    at: datetime
    """When it was committed; of a live event, when it came."""
    event: Fact | LiveEvent


LiveEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | AttemptVoided | ToolProgress
Event: TypeAlias = Fact | LiveEvent
