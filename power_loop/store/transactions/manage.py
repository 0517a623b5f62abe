"""What happens to a session as a whole: made, archived, closed, deleted, asked to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from power_loop.engine import facts as f
from power_loop.errors import SessionClosedError, SessionExistsError, SessionNotFoundError
from power_loop.store import records
from power_loop.store.port import Port
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


def create_session(db: Port, at: Micros, new: NewSession) -> None:
    """Raises `SessionExistsError`, or `SessionNotFoundError` for the parent."""
    if db.one("session_by_id", id=new.id) is not None:
        raise SessionExistsError(new.id)
    parent = None if new.parent is None else rows.session_row(db, new.parent)
    if parent is not None and parent.closed:
        raise SessionClosedError(parent.id)
    row = db.one(
        "insert_session",
        id=new.id,
        parent=None if parent is None else parent.key,
        model=new.model,
        metadata=new.metadata,
        at=at,
        crc=records.session_seal(new.id, new.model, new.metadata, at),
    )
    assert row is not None
    if new.system is not None:
        message = f.NewMessage(seq=1, role="system", body=new.system, pinned=True)
        rows.insert_message(db, at, row["key"], 0, message)
        db.run("add_input", session=row["key"], more_seq=1, more_active=1)


def archive_session(db: Port, at: Micros, session: records.SessionRow, archived: bool) -> None:
    """Hide a session, or bring it back. Only listings and sends know the difference."""
    db.run("archive_session", session=session.key, archived=int(archived), at=at)


def delete_session(db: Port, at: Micros, session: records.SessionRow) -> None:
    """Leave no row of it, nor of its children, in any table."""
    db.run("delete_session", session=session.key)


def request_stop(db: Port, at: Micros, session_id: SessionId, reason: str) -> bool:
    """Ask whoever drives the session to stop; False if nobody does, or somebody asked already."""
    session = rows.session_row(db, session_id)
    return db.run("request_stop", session=session.key, reason=reason, at=at) == 1


def family(db: Port, session: records.SessionRow) -> Sequence[records.SessionRow]:
    """The session and all its descendants, parents first."""
    found = [session]
    for member in found:
        for row in db.all("children_of", session=member.key):
            child = db.one("session_by_id", id=row["id"])
            if child is None:
                raise SessionNotFoundError(row["id"])
            found.append(records.session_of(db, child))
    return found
