"""Strategies by name, as configurations and the command line say them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from power_loop.compaction.ladder import Strategy
from power_loop.compaction.strategies import (
    ClearToolResults,
    KeepFirstAndLast,
    LeastRecentlyUsed,
    Never,
    SlidingWindow,
    UserWords,
)
from power_loop.compaction.summary import Summary

Ladder: TypeAlias = Strategy | str | Sequence[Strategy | str]
"""A strategy, its name, or several of either in the order in which they are tried."""

STRATEGIES: Final[Mapping[str, Strategy]] = {
    strategy.name: strategy
    for strategy in (
        Summary(), ClearToolResults(), KeepFirstAndLast(), LeastRecentlyUsed(), SlidingWindow(), UserWords(), Never(),
    )
}  # fmt: skip


def ladder_of(given: object) -> Sequence[Strategy]:
    """The strategies that a word, a strategy, or several of them stand for.

    Raises:
        ValueError: one is neither; the message names the words there are.
    """
    many = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    return tuple(_strategy_of(one) for one in many)


def _strategy_of(given: object) -> Strategy:
    if isinstance(given, str):
        if given not in STRATEGIES:
            raise ValueError(f"there is no strategy {given!r}; there are {', '.join(STRATEGIES)}")
        return STRATEGIES[given]
    if isinstance(given, type) or not isinstance(given, Strategy):
        raise ValueError(f"{given!r} is no strategy; give an object with a name and a method fold, or a name")
    return given
