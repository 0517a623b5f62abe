"""What the turns of a loop work with."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from llm_client.service import LLMService, Usage
from power_loop.config import AgentLoopConfig
from power_loop.events import Hub
from power_loop.hooks import Hooks
from power_loop.rules import priced
from power_loop.tools import Tool, ToolRegistry
from power_loop.transcript.measure import Measure
from power_loop.transcript.shorten import Shortener
from power_loop.values import World

LOG: Final = logging.getLogger("power_loop.turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gear:
    """Shared by all turns of a loop."""

    llm: LLMService | None
    tools: ToolRegistry
    config: AgentLoopConfig
    world: World
    hooks: Hooks = field(default_factory=Hooks)
    recaller: Tool | None = None
    """Reads results that are shown in short. None: there is no store to read from."""
    measures: dict[str | None, Measure] = field(default_factory=dict)
    """What was learned of each model's tokens."""
    hub: Hub = field(default_factory=Hub)
    """Who listens to which session."""
    rooms: dict[str | None, int] = field(default_factory=dict)
    """What an endpoint said it takes of a model's context, less the reply, where it has refused a request."""

    @property
    def budgeted(self) -> bool:
        """Whether anything is limited."""
        return self.config.budgets.limited

    def cost(self, model: str, usage: Usage | None) -> float | None:
        """What that costs; None where no price is known, or nothing was counted."""
        if self.config.prices is None or usage is None:
            return None
        found = priced(self.config.prices, model, usage)
        if found.problem is not None:
            LOG.warning("%s", found.problem)
        return found.cost

    @property
    def recall(self) -> Tool | None:
        """The recaller, offered where results are shown in short; None where an app's own tool has its name."""
        return None if self.recaller is None or self.recaller.name in self.tools else self.recaller

    def tool(self, name: str) -> Tool | None:
        """The tool a model calls by that name."""
        found = self.tools.get(name)
        if found is None and self.recaller is not None and name == self.recaller.name:
            return self.recaller
        return found

    def shown_at_once(self, tool: Tool | None) -> int | None:
        """Characters of its result that the model is shown; None: all of it, for the recaller bounds it itself."""
        if tool is not None and tool is self.recaller:
            return None
        return self.config.shown_at_once if tool is None or tool.result_limit is None else tool.result_limit

    def shortener(self, tool: Tool | None) -> Shortener:
        """What makes a part of its result."""
        return self.config.shortener if tool is None or tool.shorten is None else tool.shorten
