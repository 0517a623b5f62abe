"""Sessions at a glance, one or a page of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zlib import crc32

import pydantic_core

from power_loop.engine.calls import WAITING_FOR_INPUT, CallState
from power_loop.engine.turns import TurnState, session_state
from power_loop.store import records
from power_loop.store.parsing import Parts
from power_loop.store.port import Port, Row, Value, part
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Drives
from power_loop.values import SessionId, from_micros, to_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which sessions to list, newest change first."""

    limit: int
    archived: bool = False
    parent: SessionId | None = None
    before: tuple[datetime, SessionId] | None = None
    """Go on after this session of the page before."""


def list_sessions(db: Port, drives: Drives, which: Listing) -> list[records.SessionInfo]:
    """A page of sessions.

    Raises:
        StoreDamagedError: a row that one of them is told by is not what was written, or is missing.
    """
    keys = _page(db, which)
    parts = Parts()
    glanced = {
        row["key"]: _glanced(drives, parts, row) for row in db.all("sessions_at_a_glance", keys=json.dumps(keys))
    }
    return [glanced.get(key) or info_of(db, drives, rows.session_by_key(db, key)) for key in keys]


def _page(db: Port, which: Listing) -> Sequence[int]:
    wanted: dict[str, Value] = {"limit": which.limit, "archived": int(which.archived)}
    before: dict[str, Value] = {"before": None, "before_id": None}
    if which.before is not None:
        before = {"before": to_micros(which.before[0]), "before_id": which.before[1]}
    if which.parent is not None:
        found = db.all("list_children", parent=which.parent, **wanted, **before)
    elif which.before is not None:
        found = db.all("list_sessions_before", **wanted, **before)
    else:
        found = db.all("list_sessions", **wanted)
    return [row["key"] for row in found]


def session_info(db: Port, drives: Drives, session_id: SessionId) -> records.SessionInfo:
    return info_of(db, drives, rows.session_row(db, session_id))


def info_of(db: Port, drives: Drives, session: records.SessionRow) -> records.SessionInfo:
    """One session, by the rows it consists of. Raises `StoreDamagedError`, naming the one that is not as written."""
    turn = rows.last_turn(db, session)
    driven = drives(session.key, session.owner)
    open_calls = rows.open_calls(db, session)
    waiting = db.one("how_many_inputs_wait", session=session.key)
    state = session_state(
        None if turn is None else turn.state,
        driven=driven,
        open_calls=bool(open_calls),
        waits=_waits(open_calls),
        quarantined=session.quarantined,
    )
    return records.SessionInfo(
        session_id=session.id,
        state=state,
        status=None if turn is None else turn.status,
        stop_reason=None if turn is None else turn.stop_reason,
        error=None if turn is None else turn.error,
        pending=tuple(call.shown_open(driven=driven) for call in open_calls),
        owner=session.owner if driven else None,
        owner_since=session.owner_since if driven else None,
        turns=session.next_turn - 1,
        messages=session.next_seq - 1,
        active_messages=session.active,
        queued=0 if waiting is None else waiting["inputs"],
        recoveries=session.recoveries,
        context_tokens=session.context_tokens,
        context_window=session.context_window,
        failed_compactions=session.failed_compactions,
        parent=None if session.parent is None else rows.session_by_key(db, session.parent).id,
        model=session.model,
        metadata={} if session.metadata is None else pydantic_core.from_json(session.metadata),
        archived=session.archived,
        closed=session.closed,
        created_at=session.created_at,
        updated_at=session.updated_at,
    )


def _waits(open_calls: Sequence[records.CallInfo]) -> str | None:
    """For whom the calls wait that nobody has decided about: a person before the host; None if for nobody."""
    states = {call.shown_open(driven=False).state for call in open_calls if not call.decided}
    return next((word for word in (CallState.AWAITING_APPROVAL, WAITING_FOR_INPUT) if word in states), None)


_LIVE: Final = {str(state): state for state in TurnState if state.live}
_ENDED: Final = {str(state): state for state in TurnState if not state.live}
_LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC))


def _glanced(drives: Drives, parts: Parts, row: Row) -> records.SessionInfo | None:
    """As `info_of`, for a page of them; None if it takes a closer look: there is more to tell, or anything is wrong."""
    (
        key, id, parent, model, metadata, created_at, crc,
        updated_at, owner, owner_since, epoch, next_seq, next_turn, active, usage_rows, recoveries,
        archived_at, closed_at, quarantined_at, context_tokens, context_window, failed_compactions,
        events, approvals, waits, rules,
        number, origin, turn_epoch, request_id, given, driver, started_at, turn_crc,
        word, rounds, tool_calls, ended_at, status, stop_reason, error_code, error, answer_seq, end_crc,
        open_calls, awaited, queued,
    ) = row  # fmt: skip
    if open_calls or awaited or parent is not None:
        return None
    try:
        first = part(key)
        text = f"{first}{part(id)}{parts[None]}{parts[model]}{parts[metadata]}{part(created_at)}"
        if approvals is not None:
            text += part(approvals)
        sound = crc32(text.encode()) == crc
        # A number below zero makes all of them so, and what is no whole number cannot be part of this.
        counts = epoch | next_seq | next_turn | active | usage_rows | recoveries | failed_compactions | events
        counts |= (context_tokens or 0) | (context_window or 0) | waits | rules
        since = None if owner_since is None else from_micros(owner_since)
        state = None
        if number is not None:
            text = (
                f"{first}{parts[number]}{parts[origin]}{parts[turn_epoch]}{parts[request_id]}{parts[given]}"
                f"{parts[driver]}{part(started_at)}"
            )
            sound = sound and crc32(text.encode()) == turn_crc
            counts |= rounds | tool_calls
            if ended_at is None:
                state, status, stop_reason, error = _LIVE[word], None, None, None
            else:
                state = _ENDED[word]
                text = f"{parts[status]}{parts[stop_reason]}{parts[error_code]}{parts[error]}{parts[answer_seq]}"
                sound = sound and crc32(text.encode()) == end_crc and 0 <= ended_at <= _LATEST
        if not sound or counts < 0 or (number or 0) != next_turn - 1:
            return None
        driven = drives(key, owner)
        return records.SessionInfo(
            session_id=id,
            state=session_state(state, driven=driven, open_calls=False, quarantined=quarantined_at is not None),
            status=status,
            stop_reason=stop_reason,
            error=error,
            pending=(),
            owner=owner if driven else None,
            owner_since=since if driven else None,
            turns=next_turn - 1,
            messages=next_seq - 1,
            active_messages=active,
            queued=queued,
            recoveries=recoveries,
            context_tokens=context_tokens,
            context_window=context_window,
            failed_compactions=failed_compactions,
            parent=None,
            model=model,
            metadata={} if metadata is None else pydantic_core.from_json(metadata),
            archived=archived_at is not None,
            closed=closed_at is not None,
            created_at=from_micros(created_at),
            updated_at=from_micros(updated_at),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # a column holds what was never written there; no text, for one
