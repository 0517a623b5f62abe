"""How a turn takes in what waits to steer it."""

from __future__ import annotations

from typing import NamedTuple

from power_loop.engine import facts as f
from power_loop.engine.turns import TurnState
from power_loop.errors import SessionNotFoundError, StateError
from power_loop.store import parsing
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Claim
from power_loop.store.transactions.held import lost, turn_state
from power_loop.values import InputMode, Micros


class Taken(NamedTuple):
    """Inputs that a turn took in."""

    messages: tuple[f.NewMessage, ...]
    events: int
    """The number of the session's last event by then."""


def take_inputs(db: Port, at: Micros, claim: Claim) -> Taken:
    """Make the inputs that steer our turn messages of it, in the order they came; those messages.

    The turn must be at a round boundary, with all it has said recorded.

    Raises:
        EpochLostError, SessionNotFoundError: another process took the session over, or deleted it; nothing is taken.
    """
    found = db.one("session_by_key", key=claim.key)
    if found is None:
        raise SessionNotFoundError(claim.session)
    session = parsing.session_of(db, found)
    waiting = [row for row in db.all("waiting_inputs", session=claim.key) if row["mode"] == InputMode.STEER]
    if not waiting:
        return Taken((), session.events)
    messages = tuple(
        rows.take_input(db, at, session, row, claim.turn, session.next_seq + more) for more, row in enumerate(waiting)
    )
    ours = db.one(
        "advance_session",
        session=claim.key,
        epoch=claim.epoch,
        at=at,
        next_seq=session.next_seq + len(messages),
        more_active=len(messages),
        more_usage=0,
        progress=0,
        context_tokens=None,
        context_window=None,
        compacted=0,
        failed_compactions=0,
        more_events=1,
    )
    if ours is None:
        raise lost(db, claim)
    if turn_state(db, claim) is not TurnState.ASKING:
        raise StateError(f"turn {claim.turn} is not at a round boundary; nothing can be taken in")
    steered = f.InputSteered(session=claim.session, turn=claim.turn, messages=messages)
    rows.report(db, at, claim.key, ours["events"], [steered])
    return Taken(messages, ours["events"])
