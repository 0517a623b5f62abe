"""What rules are shown of a session, and how they say that one of them could not judge. Plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from llm_client.service import Json
from power_loop.rules.budget import Share

SUCCEEDED: Final = "succeeded"
"""The one state of a settled call that is no failure."""


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A settled call."""

    name: str
    arguments: str
    """As the model wrote them."""
    values: Mapping[str, Json] | None
    """The same, read as JSON; None where that is no object. Shared by all who look: not to be changed."""
    result: str
    """What the model is told of its outcome."""
    state: str
    """As the ledger says it: `succeeded`, `failed`, `timed_out`, `denied`, `reported` or `aborted`."""

    @property
    def succeeded(self) -> bool:
        return self.state == SUCCEEDED


@dataclass(frozen=True, slots=True)
class RoundSeen:
    """A round that has ended: an answer, and the calls it asked for with their results."""

    session_id: str
    turn: int
    """The number of the turn whose input is worked on: a resume of it, after a crash or a pause, shows the same."""
    round: int
    """From 1, counted on over a resume."""
    calls: tuple[CallSeen, ...]
    """In the order in which the answer asks for them."""
    text: str
    """What the model said beside its calls."""
    spent: tuple[Share, ...] = ()
    """How much of each budget is used: see `power_loop.rules.budget.shares`."""


class Problem(NamedTuple):
    """A rule that could not judge, and was ignored."""

    name: str
    """The watcher's, or of a move `from -> to`."""
    sentence: str
