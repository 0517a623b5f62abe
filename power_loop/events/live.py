"""Events that are only ever live: what a model is about to say, how far a tool is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from llm_client.service import AttemptVoided, Json, ReasoningDelta, TextDelta, ToolCallDelta
from power_loop.engine.facts import Fact


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """What a running tool said through `ToolContext.emit`."""

    call_id: str
    name: str
    progress: Json


LiveEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | AttemptVoided | ToolProgress
Event: TypeAlias = Fact | LiveEvent
