"""How much is measured, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    url: str
    """Where the scripted model server is (ends in /v1); it runs in a process of its own."""
    quick: bool
    """A smoke test: every workload, as small as it can be. Its figures are rough."""
    repetitions: int
    """Interleaved repetitions; medians are over these."""
    peers: tuple[str, ...]
    """Which contestants take part, by the names of their files in `bench/peers`."""
    folder: Path
    """Where databases go: its disk is what is measured. Whoever makes files there removes them again."""
    absent: dict[str, str] = field(default_factory=dict)
    """Contestants that cannot take part after all, and why."""
