"""What a turn may use."""

from __future__ import annotations

from dataclasses import dataclass

from power_loop.values import InDoubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All from the configuration; sizes in tokens."""

    max_rounds: int
    fold_at: int
    """Compact once the context holds this many tokens."""
    in_doubt: InDoubt = InDoubt.REPORT
