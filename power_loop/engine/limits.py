"""What a turn may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from power_loop.config import AgentLoopConfig
from power_loop.values import InDoubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All from the configuration; sizes in tokens."""

    max_rounds: int
    fold_at: int
    """Compact once the context holds this many tokens."""
    in_doubt: InDoubt = InDoubt.REPORT

    @classmethod
    def of(cls, config: AgentLoopConfig, in_doubt: InDoubt | None = None) -> Self:
        """The limits of a configuration; `in_doubt` overrides its policy for one turn."""
        return cls(max_rounds=config.max_rounds, fold_at=config.fold_at, in_doubt=in_doubt or config.in_doubt)
