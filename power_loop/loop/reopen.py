"""A turn made from what the store says: its history, its open calls, its place in its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

import pydantic_core

from llm_client.messages import replayed
from llm_client.service import Json
from power_loop.engine.calls import CallState
from power_loop.engine.limits import Limits
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.events.live import Event
from power_loop.loop.brief import Brief, Lookup
from power_loop.loop.drift import careful, changed
from power_loop.loop.gear import Gear
from power_loop.loop.policy import Policy
from power_loop.loop.stop import StopSignal
from power_loop.loop.structured import OutputSpec
from power_loop.loop.turn import Counted, Turn
from power_loop.loop.watching import WATCHED
from power_loop.sink import MessageSink
from power_loop.store.contract import Begun, Claim, History
from power_loop.store.records import ActiveMessage, CallInfo
from power_loop.transcript.measure import CAREFUL, Measure
from power_loop.transcript.view import Entry, View

_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What is kept of a session between turns, true as long as its epoch stands."""

    key: int
    """The session's own, which no other ever gets, not even one of the same id made after it was deleted."""
    epoch: int
    view: View
    context_tokens: int
    may_fold: bool
    fold_from: int = 0
    counted: Counted | None = None


def warmed(begun: Begun, history: History, *, replay: bool, measure: Measure = CAREFUL, overhead: int = 0) -> Warm:
    """What a store's history says before the messages that `begun` has just added.

    `overhead`: tokens of what every request holds beside the messages, for where nobody has counted it yet.
    """
    added = {message.seq for message in begun.added}
    view = view_of((message for message in history.messages if message.seq not in added), replay=replay)
    if history.counted is not None and history.counted_seq:
        counted = history.counted + view.tokens_after(history.counted_seq, measure)
    else:
        counted = view.tokens_after(0, measure) + overhead
    return Warm(
        key=begun.claim.key,
        epoch=begun.was,
        view=view,
        context_tokens=counted,
        may_fold=not history.folded_since,
    )


def view_of(messages: Iterable[ActiveMessage], *, replay: bool) -> View:
    """What the model sees of these; with `replay`, an endpoint's own words in them."""
    return View(_entry(message, replay=replay) for message in messages)


def reopen(
    begun: Begun,
    warm: Warm,
    *,
    gear: Gear,
    limits: Limits,
    sink: MessageSink,
    stop: StopSignal,
    listener: Callable[[Event], None] | None,
    lookup: Lookup,
    output: OutputSpec | None = None,
    memories: Mapping[str, Json] = _NOTHING,
) -> Turn:
    """The turn that `begun` claimed, ready to be driven."""
    for message in begun.added:
        warm.view.add(
            Entry(place=message.seq, seq=message.seq, role=message.role, wire=message.body, pinned=message.pinned)
        )
    measure = gear.measures.get(begun.model, CAREFUL)
    policy = Policy((_words(begun.approvals), gear.config.approvals))
    snapshot = Snapshot(
        turn=begun.claim.turn,
        state=begun.state,
        rounds=begun.rounds,
        tool_calls=begun.tool_calls,
        calls=tuple(_view(call, gear, policy) for call in begun.calls),
        context_tokens=warm.context_tokens + sum(measure.tokens(message.body) for message in begun.added),
        may_fold=warm.may_fold,
        fold_from=warm.fold_from,
        measure=measure,
        inputs_wait=begun.inputs_wait,
        watched=_watched(memories, begun),
    )
    turn = Turn(
        session=begun.claim.session,
        key=begun.claim.key,
        born=begun.born,
        gear=gear,
        sink=sink,
        stop=stop,
        limits=limits.within(gear.rooms.get(begun.model, limits.window)),
        snapshot=snapshot,
        view=warm.view,
        next_seq=begun.next_seq,
        model=begun.model,
        listener=listener,
        brief=Brief(origin=begun.origin, lookup=lookup, policy=policy, output=output, memories=memories),
        answered=begun.answered,
    )
    turn.counted = warm.counted
    return turn


def kept(turn: Turn, claim: Claim) -> Warm:
    """What to keep of a turn that ended as it should."""
    return Warm(
        key=claim.key,
        epoch=claim.epoch,
        view=turn.view,
        context_tokens=turn.snapshot.context_tokens,
        may_fold=turn.snapshot.may_fold,
        fold_from=turn.snapshot.fold_from,
        counted=turn.counted,
    )


def _watched(memories: Mapping[str, Json], begun: Begun) -> int:
    """The round of this input that watchers have seen last."""
    match memories.get(WATCHED):
        case {"origin": int(origin), "round": int(seen)} if origin == begun.origin:
            return seen
    return 0


def _words(approvals: str | None) -> Mapping[str, str]:
    return {} if approvals is None else cast("dict[str, str]", pydantic_core.from_json(approvals))


def _view(call: CallInfo, gear: Gear, policy: Policy) -> CallView:
    tool = gear.tool(call.name)
    approved = None if call.approval is None else call.approval.approved
    return CallView(
        key=call.key,
        id=call.id,
        name=call.name,
        arguments=call.arguments,
        effect=careful(call, tool),
        state=call.state,
        attempt=call.attempt,
        in_doubt=call.state is CallState.STARTED,
        decision=call.decision,
        known=tool is not None,
        changed=gear.config.tool_drift != "accept" and changed(call, tool),
        parallel=tool is not None and tool.parallel,
        reconciles=tool is not None and tool.reconcile is not None,
        asks=call.state is CallState.REQUESTED and approved is None and policy.may_ask(tool),
        approved=approved,
        ends=tool is not None and tool.ends_turn,
        host=call.host or (call.state is CallState.REQUESTED and tool is not None and tool.external),
    )


def _entry(message: ActiveMessage, *, replay: bool) -> Entry:
    place, seq, role, body, provider, pinned, note = message
    return Entry(place, seq, role, replayed(body, provider) if replay else body, pinned, note)
