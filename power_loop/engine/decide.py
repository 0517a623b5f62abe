"""What the turn does next. Pure: the same snapshot always gives the same step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

from power_loop.engine.limits import Limits
from power_loop.engine.recover import Verdict, recover
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.engine.turns import TurnState


@dataclass(frozen=True, slots=True)
class AskModel:
    wrap_up: bool = False
    """The round limit is reached: no tools are offered and the answer ends the turn."""


@dataclass(frozen=True, slots=True)
class RunCalls:
    """The calls to take up together; one alone unless all of them may run in parallel."""

    batch: tuple[tuple[CallView, Verdict], ...]


@dataclass(frozen=True, slots=True)
class CloseRound:
    """Every call is answered and that is not yet written down (its process died in between)."""


@dataclass(frozen=True, slots=True)
class TakeInputs:
    """Input came while the turn ran, and here is a round boundary."""


@dataclass(frozen=True, slots=True)
class Compact:
    """The context is nearly full; fold before the next request."""

    full: bool = False
    """The next request may not fit, or was refused as too long: whatever makes room is welcome."""


@dataclass(frozen=True, slots=True)
class Park:
    """A person must decide about these calls; the turn ends, holding nothing."""

    calls: tuple[CallView, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """The turn has ended."""


Step: TypeAlias = AskModel | RunCalls | CloseRound | TakeInputs | Compact | Park | Rest


def decide(now: Snapshot, limits: Limits) -> Step:
    """The next step of a turn."""
    if now.state is TurnState.ACTING:
        return _act(now, limits)
    if now.state is TurnState.ASKING:
        if now.inputs_wait:
            return TakeInputs()
        if now.overflowed:
            return Compact(full=True)
        if limits.folds and now.may_fold and now.context_tokens >= max(limits.fold_at, now.fold_from):
            return Compact(full=now.context_tokens >= limits.full_at)
        return AskModel(wrap_up=now.rounds >= limits.max_rounds)
    return Rest()


def _act(now: Snapshot, limits: Limits) -> Step:
    if not now.calls:
        return CloseRound()
    verdicts = [(call, recover(call, limits.in_doubt)) for call in now.calls]
    asked = tuple(call for call, verdict in verdicts if verdict is Verdict.ASK)
    if asked:
        # Nothing after an undecided call runs: it may depend on what that call did.
        return Park(asked)
    together = tuple(takewhile(lambda item: item[0].parallel, verdicts))
    return RunCalls(together or (verdicts[0],))
