"""Whether a turn of ours still has its session, and where it stands."""

from __future__ import annotations

from power_loop.engine.turns import TurnState
from power_loop.errors import EpochLostError, PowerLoopError, SessionNotFoundError, StateError
from power_loop.store.port import Port
from power_loop.store.transactions.begin import Claim


def lost(db: Port, claim: Claim) -> PowerLoopError:
    """Why the session takes no facts of this turn."""
    current = db.one("session_epoch", session=claim.key)
    if current is None:
        return SessionNotFoundError(claim.session)
    if current["epoch"] == claim.epoch:
        return StateError(f"turn {claim.turn} of session {claim.session} has ended; it takes no more facts")
    return EpochLostError(claim.session, claim.epoch, current["epoch"])


def turn_state(db: Port, claim: Claim) -> TurnState:
    row = db.one("turn_by_number", session=claim.key, number=claim.turn)
    if row is None:
        raise StateError(f"there is no turn {claim.turn}")
    return TurnState(row["state"])
