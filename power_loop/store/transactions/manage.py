"""What happens to a session as a whole: made, archived, asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from power_loop.engine import facts as f
from power_loop.errors import SessionClosedError, SessionExistsError, SessionNotFoundError
from power_loop.store import parsing, records, seals
from power_loop.store.port import Port, Row, seal
from power_loop.store.transactions import rows
from power_loop.values import Micros, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to be, checked. `system` is the wire text of its system prompt; `metadata` JSON text."""

    id: SessionId
    system: str | None = None
    model: str | None = None
    metadata: str | None = None
    parent: SessionId | None = None
    approvals: str | None = None
    """JSON: which tools ask for an approval."""


def create_session(db: Port, at: Micros, new: NewSession) -> None:
    """Raises `SessionExistsError`, or `SessionNotFoundError` for the parent."""
    if db.one("session_by_id", id=new.id) is not None:
        raise SessionExistsError(new.id)
    parent = None if new.parent is None else rows.session_row(db, new.parent)
    if parent is not None and parent.closed:
        raise SessionClosedError(parent.id)
    numbered = db.one("next_session_key")
    assert numbered is not None
    key: int = numbered["key"]
    above = None if parent is None else parent.key
    db.run(
        "insert_session",
        key=key,
        id=new.id,
        parent=above,
        model=new.model,
        metadata=new.metadata,
        approvals=new.approvals,
        messages=int(new.system is not None),
        at=at,
        crc=seals.session_seal(key, new.id, above, new.model, new.metadata, at, new.approvals),
    )
    if new.system is not None:
        message = f.NewMessage(seq=1, role="system", body=new.system, pinned=True)
        rows.insert_message(db, at, key, 0, message)


def archive_session(db: Port, at: Micros, session: records.SessionRow, archived: bool) -> None:
    """Hide a session, or bring it back. Only listings and sends know the difference."""
    db.run("archive_session", session=session.key, archived=int(archived), at=at)


def withdraw_input(db: Port, session_id: SessionId, number: int) -> bool:
    """Take an input out of the inbox, if it still waits there."""
    session = rows.session_row(db, session_id)
    return db.run("withdraw_input", session=session.key, number=number) == 1


def request_stop(
    db: Port, at: Micros, drives: Callable[[int, str | None], bool], session_id: SessionId, reason: str
) -> bool:
    """Ask whoever drives the session to stop; False if nobody alive does, or somebody asked already."""
    session = rows.session_row(db, session_id)
    if not drives(session.key, session.owner):
        return False
    return db.run("request_stop", session=session.key, reason=reason, at=at, crc=seal(session.key, reason, at)) == 1


def reason_of(row: Row) -> str:
    """Why to stop a session. A reason that is not what was written is no reason to go on."""
    return row["stop_reason"] if is_stop_request(row) else "stop requested; the reason that was given is damaged"


def is_stop_request(row: Row) -> bool:
    """Whether the request to stop a session is what was written; so is none at all."""
    texts = (row["stop_reason"], row["stop_requested_at"])
    return texts == (None, None) or bool(row["stop_crc"] == seal(row["key"], *texts))


def family(db: Port, session: records.SessionRow) -> Sequence[records.SessionRow]:
    """The session and all its descendants, parents first."""
    found = [session]
    for member in found:
        for row in db.all("children_of", session=member.key):
            child = db.one("session_by_id", id=row["id"])
            if child is None:
                raise SessionNotFoundError(row["id"])
            found.append(parsing.session_of(db, child))
    return found
