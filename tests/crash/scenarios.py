"""The scenarios of the sweep, by name."""

from __future__ import annotations

from tests.crash import two_rounds


def names(seed: int, count: int) -> list[str]:
    """A1's scenario."""
    return [two_rounds.NAME]


def takes_over(name: str) -> bool:
    return True
