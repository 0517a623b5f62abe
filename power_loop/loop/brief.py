"""What is particular to one turn: what it works on, what it may look up, what it is to give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm_client.service import Json
from power_loop.engine import facts as f
from power_loop.loop.policy import Policy
from power_loop.loop.structured import OutputSpec
from power_loop.store.contract import Spending
from power_loop.store.records import CallInfo


class Lookup(Protocol):
    """What a turn reads of the store while it runs."""

    async def take_inputs(self) -> tuple[f.NewMessage, ...]:
        """Commits the inputs that wait to steer this turn, as messages of it."""
        ...

    async def calls_of(self, seq: int) -> list[CallInfo]:
        """The calls that an answer asks for."""
        ...

    async def spending(self, *, tree: bool) -> Spending:
        """What others than this turn have spent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What is particular to one turn."""

    origin: int
    """The turn of the input it works on."""
    lookup: Lookup
    policy: Policy
    output: OutputSpec | None = None
    """What its last word is to be."""
    memories: Mapping[str, Json] = field(default_factory=dict)
    """What rules remembered of the session when it began."""
