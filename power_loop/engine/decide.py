"""What the turn does next. Pure: the same snapshot always gives the same step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

from power_loop.engine.calls import CallState
from power_loop.engine.limits import Limits
from power_loop.engine.recover import Verdict, recover
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.engine.turns import TurnState
from power_loop.values import Status


@dataclass(frozen=True, slots=True)
class AskModel:
    wrap_up: bool = False
    """The round limit is reached: no tools are offered and the answer ends the turn."""


@dataclass(frozen=True, slots=True)
class AskApprovals:
    """Calls that may need an approval; those that do are asked about together, before anything runs."""

    calls: tuple[CallView, ...]


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
class Watch:
    """A round has ended that no watcher has seen."""


@dataclass(frozen=True, slots=True)
class Park:
    """Somebody outside has the word about these calls; the turn ends, holding nothing."""

    calls: tuple[CallView, ...]
    status: Status


@dataclass(frozen=True, slots=True)
class Rest:
    """The turn has ended."""


Step: TypeAlias = AskModel | AskApprovals | RunCalls | CloseRound | Watch | TakeInputs | Compact | Park | Rest


def decide(now: Snapshot, limits: Limits) -> Step:
    """The next step of a turn."""
    if now.state is TurnState.ACTING:
        return _act(now, limits)
    if now.state is TurnState.ASKING:
        if limits.watched and now.watched < now.rounds:
            return Watch()
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
    if unasked := tuple(call for call in now.calls if call.asks):
        return AskApprovals(unasked)
    verdicts = [(call, recover(call, limits.in_doubt)) for call in now.calls]
    asked = tuple(call for call, verdict in verdicts if verdict is Verdict.ASK)
    if asked:
        # Nothing after an undecided call runs: it may depend on what that call did.
        return Park(asked, Status.PENDING_TOOLS)
    ready = list(_within_reach(verdicts))
    if not all(call.ends for call in now.calls):
        ready = [(call, verdict) for call, verdict in ready if not call.ends]
    if not ready:
        waiting = tuple(call for call, verdict in verdicts if verdict is Verdict.WAIT)
        approvals = any(call.state is CallState.AWAITING_APPROVAL for call in waiting)
        return Park(waiting, Status.AWAITING_APPROVAL if approvals else Status.WAITING_FOR_INPUT)
    together = tuple(takewhile(lambda item: item[0].parallel, ready))
    return RunCalls(together or (ready[0],))


def _within_reach(verdicts: Iterable[tuple[CallView, Verdict]]) -> Iterator[tuple[CallView, Verdict]]:
    """What may run while others wait: calls are taken in order, and one that runs alone lets none pass before it.

    But for those a person approved: whoever did saw what waits before them.
    """
    held = False
    for call, verdict in verdicts:
        if verdict is Verdict.WAIT:
            held = held or not call.parallel
        elif not held or call.approved is not None:
            yield call, verdict
