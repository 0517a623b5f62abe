"""How a turn comes to be by an input, at once or out of the inbox: it claims the session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from power_loop.engine import facts as f
from power_loop.engine.turns import TurnState
from power_loop.errors import (
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionPendingError,
    SessionQuarantinedError,
)
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.manage import NewSession, create_session
from power_loop.values import InputMode, Micros, SessionId, to_micros

Drives = Callable[[int, str | None], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who claims, and how to tell whether somebody alive drives a session (its key, its owner's name)."""

    name: str
    drives: Drives
    alive: Callable[[str], bool]
    """Whether the process of that name lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A message for a session, checked and ready to store."""

    session: SessionId
    body: str
    request_id: str | None = None
    metadata: str | None = None
    """JSON text the app keeps with the turn."""
    queue: InputMode | None = None
    """How it may wait in the inbox while the session is driven; None: refuse."""
    abort_reason: str | None = None
    """Give open calls up with this reason, in the same commit; None: refuse."""
    pinned: bool = False
    """Never to be folded."""
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
    """A turn of ours has begun and is live; it is on disk, or `stored` says when it is."""

    claim: Claim
    origin: int
    request_id: str | None = None
    state: TurnState
    next_seq: int
    active: int
    events: int
    """The number of the session's last event by then: that it began."""
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
    approvals: str | None = None
    """JSON: which tools ask for an approval in this session."""
    answered: int = 0
    """Where the last answer to any turn stands; 0: there is none."""
    input: int | None = None
    """The inbox's number of the input, if it came from there."""
    inputs_wait: bool = False
    """Input that steers this turn waits already."""
    stored: Callable[[], Awaitable[object]] | None = field(default=None, compare=False)
    """Waits until this is on stable storage, or raises why it will not be; None: it is already."""

    @property
    def fact(self) -> f.TurnBegan:
        """What the claim has committed."""
        return f.TurnBegan(
            session=self.claim.session,
            turn=self.claim.turn,
            origin=self.origin,
            request_id=self.request_id,
            input=self.added,
            open_calls=tuple(call.requested for call in self.calls),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The input is in the inbox, durably, and has not been taken in yet."""

    number: int
    ours: bool
    """It was put there now; else it was sent before under the same request id, and is its sender's to withdraw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Nothing was written: the input is stored already, or there is nothing to go on from."""

    session: records.SessionRow
    turn: records.TurnInfo | None
    """The last turn that worked on it."""


def begin_turn(db: Port, at: Micros, owner: Owner, wanted: Input) -> Begun | Known | Waiting:
    """Store an input and claim the session for a turn that works on it.

    `Known` if its request id is stored already. `Waiting` if it has to wait and may: it is in the inbox then, behind
    what came before it. A live turn whose owner died is written down as interrupted.

    Raises:
        SessionNotFoundError, SessionArchivedError, SessionClosedError: it takes no input.
        SessionBusyError: a living owner drives it, and the input is not to wait.
        SessionPendingError: calls of an earlier turn are open, and `abort_reason` is None.
    """
    # An input with a request id and no session has a session of its own, found again by the same id.
    if wanted.create is not None and (wanted.request_id is None or db.one("session_by_id", id=wanted.session) is None):
        create_session(db, at, wanted.create)
    session = rows.session_row(db, wanted.session)
    found = None if wanted.request_id is None else _known(db, session, wanted.request_id)
    if isinstance(found, Waiting):
        return found
    if found is not None or wanted.queue is None:
        undriven(owner, session)
    if found is not None:
        return found
    _takes_input(session)
    if wanted.queue is not None and owner.drives(session.key, session.owner):
        return _enqueue(db, at, owner, session, wanted)
    standing = rows.standing(db, session)
    calls = _given_up(db, session, standing, wanted.abort_reason)
    if standing.inputs:
        return _enqueue(db, at, owner, session, wanted)

    def store(turn: int) -> f.NewMessage:
        message = f.NewMessage(seq=session.next_seq, role="user", body=wanted.body, pinned=wanted.pinned)
        rows.insert_message(db, at, session.key, turn, message)
        return message

    return _begin(db, at, owner, session, standing, calls, wanted, store)


def queue_input(db: Port, at: Micros, owner: Owner, wanted: Input) -> Known | Waiting:
    """Store an input in the inbox of a session that a turn runs in, or others wait for.

    `Known` if its request id is that of a turn already. From here on the input is durable: should its sender die, it
    waits until somebody goes on with the session.

    Raises:
        SessionNotFoundError, SessionArchivedError, SessionClosedError: it takes no input.
    """
    session = rows.session_row(db, wanted.session)
    found = None if wanted.request_id is None else _known(db, session, wanted.request_id)
    if found is not None:
        return found
    _takes_input(session)
    return _enqueue(db, at, owner, session, wanted)


def begin_next(
    db: Port,
    at: Micros,
    owner: Owner,
    session_id: SessionId,
    number: int | None,
    *,
    abort_reason: str | None = None,
) -> Begun | Known | None:
    """Claim the session for a turn on the input that has waited longest: `number`, or one before it.

    `Known` if a turn took that input in meanwhile: how that turn stands. Without a `number`, only an input whose sender
    is dead, and in no quarantined session. None if there is none such (any more): it was withdrawn, or is its living
    sender's to begin.

    Raises:
        SessionBusyError, SessionPendingError, SessionNotFoundError, ...: as `begin_turn`.
    """
    session = rows.session_row(db, session_id)
    if number is not None:
        own = db.one("input_by_number", session=session.key, number=number)
        if own is None:
            return None
        if own["turn"] is not None:
            undriven(owner, session)
            return last_of(db, session, own["turn"])
    undriven(owner, session)
    _takes_input(session)
    row = db.one("first_waiting_input", session=session.key)
    if row is None or (number is None and (session.quarantined or owner.alive(row["sender"]))):
        return None
    standing = rows.standing(db, session)
    calls = _given_up(db, session, standing, abort_reason)
    first = parsing.input_of(db, session, row)
    wanted = Input(session=session.id, body=first.body, request_id=first.request_id, metadata=row["metadata"],
                   abort_reason=abort_reason)  # fmt: skip
    store = lambda turn: rows.take_input(db, at, session, row, turn, session.next_seq)  # noqa: E731
    return replace(_begin(db, at, owner, session, standing, calls, wanted, store), input=first.number)


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


def _known(db: Port, session: records.SessionRow, request_id: str) -> Known | Waiting | None:
    """What became of the input of that request id, if it is stored."""
    row = db.one("turn_by_request", session=session.key, request_id=request_id)
    if row is not None:
        return last_of(db, session, parsing.turn_of(db, session, row).number)
    row = db.one("input_by_request", session=session.key, request_id=request_id)
    if row is None:
        return None
    return Waiting(number=row["number"], ours=False) if row["turn"] is None else last_of(db, session, row["turn"])


def last_of(db: Port, session: records.SessionRow, number: int) -> Known:
    """The last turn that worked on what turn `number` took in."""
    row = db.one("turn_by_number", session=session.key, number=number)
    assert row is not None
    origin = parsing.turn_of(db, session, row).origin
    last = db.one("last_turn_of_origin", session=session.key, origin=origin)
    assert last is not None
    return Known(session=session, turn=parsing.turn_of(db, session, last))


def _takes_input(session: records.SessionRow) -> None:
    if session.closed:
        raise SessionClosedError(session.id)
    if session.archived:
        raise SessionArchivedError(session.id)


def _given_up(
    db: Port, session: records.SessionRow, standing: rows.Standing, abort_reason: str | None
) -> list[records.CallInfo]:
    """The open calls, which a new turn gives up for that reason; without one they stand in its way."""
    calls = rows.open_calls(db, session) if standing.open_calls else []
    if calls and abort_reason is None:
        raise pending(session, calls)
    return calls


def pending(session: records.SessionRow, calls: Sequence[records.CallInfo]) -> SessionPendingError:
    shown = [call.shown_open(driven=False) for call in calls]
    if session.quarantined:
        return SessionQuarantinedError(session.id, shown, session.recoveries)
    return SessionPendingError(session.id, shown)


def _enqueue(db: Port, at: Micros, owner: Owner, session: records.SessionRow, wanted: Input) -> Waiting:
    said = (wanted.queue or InputMode.WAIT, wanted.request_id, wanted.metadata, wanted.body)
    number = db.insert(
        "insert_input",
        session=session.key,
        mode=said[0],
        request_id=wanted.request_id,
        metadata=wanted.metadata,
        body=wanted.body,
        sender=owner.name,
        at=at,
        pinned=int(wanted.pinned),
        crc=seals.input_seal(session.key, said, owner.name, at, pinned=wanted.pinned),
    )
    return Waiting(number=number, ours=True)


def _begin(
    db: Port,
    at: Micros,
    owner: Owner,
    session: records.SessionRow,
    standing: rows.Standing,
    calls: Sequence[records.CallInfo],
    wanted: Input,
    store: Callable[[int], f.NewMessage],
) -> Begun:
    """Claim the session for a turn on an input. `store` puts its message there, at the next number, for that turn."""
    before = rows.interrupt_dead(db, at, session) if standing.live else []
    aborted = [abort_one(db, at, session, call, wanted.abort_reason or "") for call in calls]
    before += rows.aborted(session, calls, wanted.abort_reason or "")
    claim = claim_session(db, at, owner, session, more_seq=1, more_active=1 + len(calls), more_events=len(before) + 1)
    insert_turn(db, at, owner, claim, origin=claim.turn, state=TurnState.ASKING, wanted=wanted)
    added = (*aborted, store(claim.turn))
    begun = Begun(
        claim=claim,
        events=session.events + len(before) + 1,
        origin=claim.turn,
        request_id=wanted.request_id,
        state=TurnState.ASKING,
        next_seq=session.next_seq + 1,
        active=session.active + 1 + len(calls),
        added=added,
        born=to_micros(session.created_at),
        was=session.epoch,
        rounds=0,
        tool_calls=0,
        calls=(),
        model=session.model,
        approvals=session.approvals,
        answered=standing.answered,
    )
    rows.report(db, at, session.key, begun.events, [*before, begun.fact])
    return begun


def claim_session(
    db: Port,
    at: Micros,
    owner: Owner,
    session: records.SessionRow,
    *,
    more_seq: int = 0,
    more_active: int = 0,
    more_events: int,
    recovers: bool = False,
) -> Claim:
    """The session is ours for a turn; it counts the messages and events that this commit adds."""
    claimed = db.one(
        "claim_session",
        session=session.key,
        owner=owner.name,
        at=at,
        more_seq=more_seq,
        more_active=more_active,
        more_events=more_events,
        recovers=int(recovers),
    )
    assert claimed is not None
    return Claim(key=session.key, session=session.id, epoch=claimed["epoch"], turn=claimed["turn"])


def abort_one(db: Port, at: Micros, session: records.SessionRow, call: records.CallInfo, reason: str) -> f.NewMessage:
    (answer,) = rows.abort_calls(db, at, session, [call], reason)
    return answer


def insert_turn(
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
