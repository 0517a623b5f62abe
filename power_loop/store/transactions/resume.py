"""How a turn comes to be by going on from where an earlier one stopped. It claims the session, and is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from power_loop.engine import facts as f
from power_loop.engine.calls import WAITING_FOR_INPUT
from power_loop.engine.turns import TurnState
from power_loop.errors import (
    CallNotFoundError,
    CallSettledError,
    InputInvalidError,
    SessionArchivedError,
    SessionClosedError,
)
from power_loop.store import records
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import (
    Begun,
    Known,
    Owner,
    abort_one,
    claim_session,
    insert_turn,
    last_of,
    pending,
    undriven,
)
from power_loop.store.transactions.waits import follow_decisions, results, waiting_only
from power_loop.values import InputMode, Micros, SessionId, Status, to_micros

GIVEN_UP: Final = "given up by decision"

_FOR_SOMEBODY: Final = (Status.AWAITING_APPROVAL, Status.WAITING_FOR_INPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """The session was taken up too often without progress; from this commit on only a person frees it."""

    session: records.SessionRow
    calls: tuple[records.CallInfo, ...]


def resume_turn(
    db: Port,
    at: Micros,
    owner: Owner,
    session_id: SessionId,
    decisions: Mapping[str, str],
    *,
    only_orphan: bool = False,
    force: bool = False,
    origin: int | None = None,
    max_recoveries: int | None = None,
    accept: Callable[[Sequence[records.CallInfo]], None] | None = None,
) -> Begun | Known | Quarantined:
    """Claim a session to go on from its last turn; `Known` if that was answered and nothing is open, or if it waits for
    somebody outside who has not said anything.

    `decisions` maps ids of calls in doubt to `retry`, `report` or `abort`. With `only_orphan` it is `Known` as well
    unless the owner of a live turn died: of several processes that recover, one gets each.

    With `origin` only what that turn began is gone on with; `Known`, as that stands, if others came since. The recovery
    is counted in this commit. After `max_recoveries` without progress the session is quarantined instead.
    `accept` sees the calls to take up, and raises if they cannot be.

    Raises:
        SessionQuarantinedError: it was quarantined before; nothing is changed.
        SessionNotFoundError, SessionArchivedError, SessionClosedError, SessionBusyError: as `begin_turn`.
        CallNotFoundError, CallSettledError: a decision names no open call, or one that never ran.
    """
    session = undriven(owner, rows.session_row(db, session_id), force=force)
    if session.closed:
        raise SessionClosedError(session.id)
    if session.archived:
        raise SessionArchivedError(session.id)
    last = rows.last_turn(db, session)
    calls = {call.id: call for call in rows.open_calls(db, session)}
    for call_id, decision in decisions.items():
        _check_decision(session, calls, call_id, decision)
    answered = last is None or (last.state is TurnState.DONE and not calls)
    if origin is not None and last is not None and last.origin != origin:
        return last_of(db, session, origin)
    if last is None or answered or (only_orphan and not last.state.live):
        return Known(session=session, turn=last)
    parked = last.state is TurnState.WAITING and last.epoch == session.epoch and last.status in _FOR_SOMEBODY
    if parked and not decisions and waiting_only(list(calls.values()), at):
        return Known(session=session, turn=last)
    if session.quarantined:
        raise pending(session, tuple(calls.values()))
    facts = rows.interrupt_dead(db, at, session)
    if max_recoveries is not None and session.recoveries >= max_recoveries:
        given_up = f.SessionQuarantined(session=session.id, turn=last.number, recoveries=session.recoveries)
        rows.change(db, at, session, [*facts, given_up])
        db.run("quarantine_session", session=session.key, at=at)
        return Quarantined(session=rows.session_row(db, session_id), calls=tuple(calls.values()))
    if accept is not None:
        accept([call for call in calls.values() if decisions.get(call.id) != "abort"])
    aborted, dropped = [], []
    for call_id, decision in decisions.items():
        call = calls[call_id]
        if decision == "abort":
            aborted.append(abort_one(db, at, session, calls.pop(call_id), GIVEN_UP))
            dropped.append(call)
        else:
            db.run("decide_call", session=session.key, seq=call.key.seq, ordinal=call.key.ordinal, decision=decision)
    facts += rows.aborted(session, dropped, GIVEN_UP)
    facts += follow_decisions(db, at, session, calls.values())
    added = tuple(sorted([*aborted, *results(facts)], key=lambda message: message.seq))
    claim = claim_session(db, at, owner, session, more_active=len(added), more_events=len(facts) + 1, recovers=True)
    spent = db.one("rounds_of_origin", session=session.key, origin=last.origin)
    assert spent is not None
    still_open = tuple(rows.open_calls(db, session))
    state = TurnState.ACTING if still_open else TurnState.ASKING
    insert_turn(db, at, owner, claim, origin=last.origin, state=state)
    begun = Begun(
        claim=claim,
        origin=last.origin,
        events=session.events + len(facts) + 1,
        state=state,
        next_seq=session.next_seq,
        active=session.active + len(added),
        added=added,
        born=to_micros(session.created_at),
        was=session.epoch,
        rounds=spent["rounds"],
        tool_calls=spent["tool_calls"],
        calls=still_open,
        model=session.model,
        approvals=session.approvals,
        answered=rows.last_answer(db, session),
        inputs_wait=any(row["mode"] == InputMode.STEER for row in db.all("waiting_inputs", session=session.key)),
    )
    rows.report(db, at, session.key, begun.events, [*facts, begun.fact])
    return begun


def _check_decision(
    session: records.SessionRow, calls: Mapping[str, records.CallInfo], call_id: str, decision: str
) -> None:
    if decision not in ("retry", "report", "abort"):
        raise InputInvalidError("decisions", f"says {decision!r} of call {call_id}", "say retry, report or abort")
    call = calls.get(call_id)
    if call is None:
        raise CallNotFoundError(session.id, call_id, list(calls))
    if decision != "abort" and call.host:
        raise CallSettledError(session.id, call_id, WAITING_FOR_INPUT, "the host gives its result: submit_results()")
    if decision != "abort" and not call.attempt:
        raise CallSettledError(
            session.id, call_id, "requested", "it never ran, so it will run when the session is resumed; or abort it"
        )
