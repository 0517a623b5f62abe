"""How a turn comes to be: by an input, or by going on from where an earlier one stopped. Both claim the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from power_loop.engine import facts as f
from power_loop.engine.turns import TurnState
from power_loop.errors import (
    CallNotFoundError,
    CallSettledError,
    InputInvalidError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionPendingError,
)
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.manage import NewSession, create_session
from power_loop.values import Micros, SessionId, to_micros

Drives = Callable[[int, str | None], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who claims, and how to tell whether somebody alive drives a session (its key, its owner's name)."""

    name: str
    drives: Drives


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A message for a session, checked and ready to store."""

    session: SessionId
    body: str
    request_id: str | None = None
    metadata: str | None = None
    """JSON text the app keeps with the turn."""
    abort_reason: str | None = None
    """Give open calls up with this reason, in the same commit; None: refuse."""
    create: NewSession | None = None
    """Make the session first, in the same commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to change one turn of one session, as long as the epoch stands."""

    key: int
    session: SessionId
    epoch: int
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A turn of ours has begun; it is on disk and live."""

    claim: Claim
    origin: int
    request_id: str | None = None
    state: TurnState
    next_seq: int
    active: int
    added: tuple[f.NewMessage, ...]
    """Messages this commit stored: the input, after the answers of calls it gave up."""
    born: Micros
    """When the session was made."""
    was: int
    """The session's epoch before the claim: what was read under it is still true."""
    rounds: int
    tool_calls: int
    calls: tuple[records.CallInfo, ...]
    """Open calls to take up."""
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Nothing was written: the input is stored already, or there is nothing to go on from."""

    session: records.SessionRow
    turn: records.TurnInfo | None
    """The last turn that worked on it."""


def begin_turn(db: Port, at: Micros, owner: Owner, wanted: Input) -> Begun | Known:
    """Store an input and claim the session for a turn that works on it.

    `Known` if its request id is stored already. A live turn whose owner died is written down as interrupted.

    Raises:
        SessionNotFoundError, SessionArchivedError, SessionClosedError: it takes no input.
        SessionBusyError: a living owner drives it.
        SessionPendingError: calls of an earlier turn are open, and `abort_reason` is None.
    """
    # An input with a request id and no session has a session of its own, found again by the same id.
    if wanted.create is not None and (wanted.request_id is None or db.one("session_by_id", id=wanted.session) is None):
        create_session(db, at, wanted.create)
    session = _ours_to_take(db, owner, wanted.session, known=wanted.request_id)
    if isinstance(session, Known):
        return session
    calls = rows.open_calls(db, session)
    if calls and wanted.abort_reason is None:
        raise SessionPendingError(session.id, [call.shown_open(driven=False) for call in calls])
    _interrupt_dead(db, at, session)
    aborted = [_abort_one(db, at, session, call, wanted.abort_reason or "") for call in calls]
    claimed = db.one("claim_session", session=session.key, owner=owner.name, at=at)
    assert claimed is not None
    claim = Claim(key=session.key, session=session.id, epoch=claimed["epoch"], turn=claimed["turn"])
    message = f.NewMessage(seq=session.next_seq, role="user", body=wanted.body)
    _insert_turn(db, at, owner, claim, origin=claim.turn, state=TurnState.ASKING, wanted=wanted)
    rows.insert_message(db, at, claim.key, claim.turn, message)
    db.run("add_input", session=claim.key, more_seq=1, more_active=1 + len(calls))
    return Begun(
        claim=claim,
        origin=claim.turn,
        request_id=wanted.request_id,
        state=TurnState.ASKING,
        next_seq=session.next_seq + 1,
        active=session.active + 1 + len(calls),
        added=(*aborted, message),
        born=to_micros(session.created_at),
        was=session.epoch,
        rounds=0,
        tool_calls=0,
        calls=(),
        model=session.model,
    )


def resume_turn(
    db: Port,
    at: Micros,
    owner: Owner,
    session_id: SessionId,
    decisions: Mapping[str, str],
    *,
    only_orphan: bool = False,
    force: bool = False,
) -> Begun | Known:
    """Claim a session to go on from its last turn; `Known` if that was answered and nothing is open.

    `decisions` maps ids of calls in doubt to `retry`, `report` or `abort`. With `only_orphan` it is `Known` as well
    unless the owner of a live turn died: of several processes that recover, one gets each.

    Raises:
        SessionNotFoundError, SessionArchivedError, SessionClosedError, SessionBusyError: as `begin_turn`.
        CallNotFoundError, CallSettledError: a decision names no open call, or one that never ran.
    """
    session = _ours_to_take(db, owner, session_id, force=force)
    assert isinstance(session, records.SessionRow)
    last = rows.last_turn(db, session)
    calls = {call.id: call for call in rows.open_calls(db, session)}
    for call_id, decision in decisions.items():
        _check_decision(session, calls, call_id, decision)
    answered = last is None or (last.state is TurnState.DONE and not calls)
    if last is None or answered or (only_orphan and not last.state.live):
        return Known(session=session, turn=last)
    _interrupt_dead(db, at, session)
    aborted = []
    for call_id, decision in decisions.items():
        call = calls[call_id]
        if decision == "abort":
            aborted.append(_abort_one(db, at, session, calls.pop(call_id), "given up by decision"))
        else:
            db.run("decide_call", session=session.key, seq=call.key.seq, ordinal=call.key.ordinal, decision=decision)
    if aborted:
        db.run("add_input", session=session.key, more_seq=0, more_active=len(aborted))
    claimed = db.one("claim_session", session=session.key, owner=owner.name, at=at)
    assert claimed is not None
    claim = Claim(key=session.key, session=session.id, epoch=claimed["epoch"], turn=claimed["turn"])
    spent = db.one("rounds_of_origin", session=session.key, origin=last.origin)
    assert spent is not None
    state = TurnState.ACTING if calls else TurnState.ASKING
    _insert_turn(db, at, owner, claim, origin=last.origin, state=state)
    return Begun(
        claim=claim,
        origin=last.origin,
        state=state,
        next_seq=session.next_seq,
        active=session.active + len(aborted),
        added=tuple(aborted),
        born=to_micros(session.created_at),
        was=session.epoch,
        rounds=spent["rounds"],
        tool_calls=spent["tool_calls"],
        calls=tuple(rows.open_calls(db, session)),
        model=session.model,
    )


def undriven(owner: Owner, session: records.SessionRow, *, force: bool = False) -> records.SessionRow:
    """The session, if nobody alive drives it; or, by `force`, no turn of this very process does.

    A driver that is robbed so has lost its epoch: its next write is refused.

    Raises:
        SessionBusyError: somebody does.
    """
    robbed = force and session.owner != owner.name
    if not robbed and owner.drives(session.key, session.owner):
        raise SessionBusyError(session.id, session.owner or "somebody", session.owner_since)
    return session


def _ours_to_take(
    db: Port, owner: Owner, session_id: SessionId, *, known: str | None = None, force: bool = False
) -> records.SessionRow | Known:
    session = rows.session_row(db, session_id)
    undriven(owner, session, force=force)
    if known is not None:
        row = db.one("turn_by_request", session=session.key, request_id=known)
        if row is not None:
            origin = parsing.turn_of(db, session, row).number
            last = db.one("last_turn_of_origin", session=session.key, origin=origin)
            assert last is not None
            return Known(session=session, turn=parsing.turn_of(db, session, last))
    if session.closed:
        raise SessionClosedError(session.id)
    if session.archived:
        raise SessionArchivedError(session.id)
    return session


def _interrupt_dead(db: Port, at: Micros, session: records.SessionRow) -> None:
    last = rows.last_turn(db, session)
    if last is not None and last.state.live:
        rows.interrupt_turn(db, at, session, last)


def _abort_one(db: Port, at: Micros, session: records.SessionRow, call: records.CallInfo, reason: str) -> f.NewMessage:
    rows.abort_calls(db, at, session, [call], reason)
    row = db.one("message_by_seq", session=session.key, seq=call.key.seq + 1 + call.key.ordinal)
    assert row is not None
    return f.NewMessage(seq=row["seq"], role="tool", body=row["body"])


def _insert_turn(
    db: Port, at: Micros, owner: Owner, claim: Claim, *, origin: int, state: TurnState, wanted: Input | None = None
) -> None:
    request_id = None if wanted is None else wanted.request_id
    metadata = None if wanted is None else wanted.metadata
    db.run(
        "insert_turn",
        session=claim.key,
        number=claim.turn,
        origin=origin,
        request_id=request_id,
        metadata=metadata,
        state=state,
        epoch=claim.epoch,
        owner=owner.name,
        at=at,
        crc=seals.turn_seal(claim.key, (claim.turn, origin, claim.epoch), request_id, metadata, owner.name, at),
    )


def _check_decision(
    session: records.SessionRow, calls: Mapping[str, records.CallInfo], call_id: str, decision: str
) -> None:
    if decision not in ("retry", "report", "abort"):
        raise InputInvalidError("decisions", f"says {decision!r} of call {call_id}", "say retry, report or abort")
    call = calls.get(call_id)
    if call is None:
        raise CallNotFoundError(session.id, call_id, list(calls))
    if decision != "abort" and not call.attempt:
        raise CallSettledError(
            session.id, call_id, "requested", "it never ran, so it will run when the session is resumed; or abort it"
        )
