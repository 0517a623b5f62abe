"""What is done to a session from outside a turn: calls aborted or resolved, a death written down, closed, deleted."""

from __future__ import annotations

from dataclasses import dataclass

from power_loop.engine import facts as f
from power_loop.engine.calls import WAITING_FOR_INPUT, CallState, SettledBy
from power_loop.engine.turns import TurnState, after
from power_loop.errors import CallNotFoundError, CallSettledError
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Owner, undriven
from power_loop.store.transactions.manage import family
from power_loop.values import Micros, SessionId, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A person's word about a call in doubt: it did or did not happen with this result; or do this with it."""

    content: str | None = None
    failed: bool = False
    decision: str | None = None
    """`retry` or `report`, taken up by the next resume; None: `content` is the result."""


def abort_pending(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, reason: str, *, force: bool = False
) -> list[str]:
    """Answer every open call once with the reason; the ids answered. Nothing waits or is live afterwards.

    `force` takes the session even from a living owner (one that hangs, or is stopped).

    Raises:
        SessionBusyError: somebody alive drives the session; nothing is changed.
    """
    return _give_up(db, at, undriven(owner, rows.session_row(db, session_id), force=force), reason)


def close_session(db: Port, at: Micros, owner: Owner, session_id: SessionId, cascade: bool) -> list[str]:
    """Close a session, and with `cascade` its descendants, for good; the ids closed. Open calls are aborted."""
    session = rows.session_row(db, session_id)
    members = family(db, session) if cascade else [session]
    for member in members:
        _give_up(db, at, undriven(owner, member), "the session was closed")
        db.run("withdraw_inputs", session=member.key)
        db.run("close_session", session=member.key, at=at)
    return [member.id for member in members]


def delete_session(db: Port, at: Micros, owner: Owner, session_id: SessionId) -> list[str]:
    """Leave no row of a session, nor of its descendants, in any table; the ids deleted.

    Raises:
        SessionBusyError: somebody alive drives one of them; nothing is deleted.
    """
    session = rows.session_row(db, session_id)
    members = family(db, session)
    for member in members:
        undriven(owner, member)
    db.run("delete_session", session=session.key)
    return [member.id for member in members]


def resolve_call(db: Port, at: Micros, owner: Owner, session_id: SessionId, call_id: str, said: Resolution) -> None:
    """Record a person's word about a call in doubt.

    Raises:
        SessionBusyError: somebody alive drives the session.
        CallNotFoundError: no such call.
        CallSettledError: it is settled, or never ran.
    """
    session = undriven(owner, rows.session_row(db, session_id))
    row = db.one("call_by_id", session=session.key, id=call_id)
    if row is None:
        raise CallNotFoundError(session.id, call_id, [call.id for call in rows.open_calls(db, session)])
    call = rows.with_waits(db, session, [parsing.call_of(db, session, row)])[0]
    if said.decision is not None and call.host:
        way_out = "the host gives its result: submit_results(), or resolve() with a result or an error"
        raise CallSettledError(session.id, call_id, WAITING_FOR_INPUT, way_out)
    if call.state is not CallState.STARTED:
        way_out = (
            "nothing is left to resolve"
            if not call.state.open
            else "it never ran: resume the session to run it, or abort it"
        )
        raise CallSettledError(session.id, call_id, str(call.state), way_out)
    facts = rows.interrupt_dead(db, at, session)
    answered = said.decision is None
    if answered:
        state = CallState.FAILED if said.failed else CallState.SUCCEEDED
        facts.append(rows.answer_call(db, at, session, call, said.content or "", (state, SettledBy.PERSON)))
    else:
        db.run("decide_call", session=session.key, seq=call.key.seq, ordinal=call.key.ordinal, decision=said.decision)
    rows.change(db, at, session, facts, more_active=int(answered), freed=answered)


def free_session(db: Port, at: Micros, session: records.SessionRow) -> bool:
    """Let a quarantined session be taken up again, its recoveries counted anew; False if it is none."""
    if session.quarantined:
        rows.change(db, at, session, [], freed=True)
    return session.quarantined


def interrupt_session(
    db: Port, at: Micros, owner: Owner, session_id: SessionId, *, abort_reason: str | None = None
) -> records.TurnInfo | None:
    """Write down that the owner of a live turn died; the turn, or None if there is none such (any more).

    With `abort_reason` its open calls are given up in the same commit, as `abort_pending` does. Of several processes
    that try, exactly one gets the turn.
    """
    session = rows.session_row(db, session_id)
    if session.owner is None or owner.drives(session.key, session.owner):
        return None
    turn = rows.last_turn(db, session)
    if abort_reason is not None:
        _give_up(db, at, session, abort_reason)
        return turn
    facts = rows.interrupt_dead(db, at, session)
    rows.change(db, at, session, facts)
    return turn if facts else None


def _give_up(db: Port, at: Micros, session: records.SessionRow, reason: str) -> list[str]:
    calls = rows.open_calls(db, session)
    turn = rows.last_turn(db, session)
    # Whoever waited for people may have all their words by now: that it went on with them is given up, too.
    if turn is None or not (calls or turn.state.live or turn.state is TurnState.WAITING):
        if session.quarantined:
            free_session(db, at, session)
        return []
    fact = f.CallsAborted(session=session.id, turn=turn.number, calls=tuple(call.key for call in calls), reason=reason)
    state = after(turn.state, fact)
    if turn.state.live:
        # Its owner is dead. It ends as given up, by the hand that does so.
        rows.end_turn(db, at, session.key, turn.number, (turn.state, state), Status.CANCELLED, reason)
    elif turn.state is not state:
        db.run(
            "give_up_turn",
            session=session.key,
            turn=turn.number,
            from_state=turn.state,
            state=state,
            stop_reason=reason,
            end_crc=seals.end_seal(Status.CANCELLED, reason, None, None, None),
        )
    rows.abort_calls(db, at, session, calls, reason)
    rows.change(db, at, session, [fact], more_active=len(calls), freed=True)
    return [call.id for call in calls]
