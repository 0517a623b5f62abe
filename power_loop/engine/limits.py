"""What a turn may use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from power_loop.config import AgentLoopConfig
from power_loop.values import InDoubt

FULL: Final = 0.95
"""Of the window; the rest is for what an estimate may be off."""

SURELY: Final = 0.5
"""Of a careful estimate, what a text comes to at the very least: of unbroken text it says up to twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All from the configuration; sizes in tokens."""

    max_rounds: int
    window: int
    """What the model can take, less the room for its reply."""
    fold_at: int
    """Compact once the context holds this many tokens."""
    fold_to: int
    """What a compaction should leave."""
    folds: bool = True
    """False: history is never folded."""
    in_doubt: InDoubt = InDoubt.REPORT
    watched: bool = False
    """Watchers look at each round before the next request."""

    @classmethod
    def of(cls, config: AgentLoopConfig, in_doubt: InDoubt | None = None) -> Self:
        """The limits of a configuration; `in_doubt` overrides its policy for one turn."""
        return cls(
            max_rounds=config.max_rounds,
            window=config.room,
            fold_at=config.fold_at,
            fold_to=config.fold_to,
            folds=config.folds,
            in_doubt=in_doubt or config.in_doubt,
            watched=bool(config.watchers),
        )

    def within(self, window: int) -> Self:
        """The same, for an endpoint that turned out to take less than it was said to."""
        if window >= self.window:
            return self
        share = window / self.window
        return replace(self, window=window, fold_at=round(self.fold_at * share), fold_to=round(self.fold_to * share))

    def surely_over(self, tokens: int) -> bool:
        """Whether so many tokens do not fit, even if the estimate of them is far too careful."""
        return tokens * SURELY > self.window

    @property
    def full_at(self) -> int:
        """From here on the next request may not fit: what needs no model may fold."""
        return max(self.fold_at, round(FULL * self.window))
