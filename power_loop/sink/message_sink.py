"""The contract of a sink, and the sink that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from power_loop.engine.facts import Fact


class MessageSink(Protocol):
    async def record(self, facts: Sequence[Fact]) -> None:
        """Take in facts that belong together, all or none, in order.

        When this returns, whatever the sink promises of them holds. Facts of one session come in order; several
        sessions may record at once.
        """
        ...

    async def aclose(self) -> None:
        """Give back what the sink holds. Nothing is recorded afterwards."""
        ...


class NullSink:
    """Keeps nothing: a turn through it is a turn without durability."""

    async def record(self, facts: Sequence[Fact]) -> None:
        return None

    async def aclose(self) -> None:
        return None
