"""Rows into values, each checked against its checksum before anyone believes it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, TypeVar

import pydantic_core

from power_loop.engine.calls import CallState, Decision, SettledBy, WaitKind, arguments_hash, idempotency_key
from power_loop.engine.facts import NewMessage, Wait
from power_loop.engine.outputs import Output
from power_loop.engine.turns import TurnState
from power_loop.errors import StoreDamagedError
from power_loop.store import seals
from power_loop.store.port import Port, Row, Text, part
from power_loop.store.records import (
    ActiveMessage,
    CallInfo,
    CompactionInfo,
    QueuedInput,
    SessionRow,
    StoredMessage,
    TurnInfo,
    UsageInfo,
    WaitInfo,
)
from power_loop.values import CallKey, Effect, InputMode, SessionId, from_micros, to_micros

E = TypeVar("E")

WAY_OUT: Final = "run `power-loop doctor` to list what is damaged; restore those rows from a backup"


def session_of(db: Port, row: Iterable[Any]) -> SessionRow:
    """Of the columns that `session_by_id` and `session_by_key` name."""
    (
        key, id, parent, model, metadata, created_at, crc, updated_at, epoch, owner, owner_since, next_seq, next_turn,
        active, usage_rows, stop_requested_at, archived_at, closed_at, recoveries, quarantined_at,
        context_tokens, context_window, failed_compactions, events, approvals, waits, rules,
    ) = row  # fmt: skip
    try:
        # A number below zero makes all of them so; what is no whole number cannot be part of this.
        counts = epoch | next_seq | next_turn | active | usage_rows | recoveries | failed_compactions | events
        counts |= (context_tokens or 0) | (context_window or 0) | waits | rules
        if crc == seals.session_seal(key, id, parent, model, metadata, created_at, approvals) and counts >= 0:
            return SessionRow(
                key=key,
                id=SessionId(id),
                parent=parent,
                model=model,
                metadata=metadata,
                created_at=from_micros(created_at),
                updated_at=from_micros(updated_at),
                epoch=epoch,
                owner=owner,
                owner_since=None if owner_since is None else from_micros(owner_since),
                next_seq=next_seq,
                next_turn=next_turn,
                active=active,
                usage_rows=usage_rows,
                stop_requested=stop_requested_at is not None,
                archived=archived_at is not None,
                closed=closed_at is not None,
                recoveries=recoveries,
                quarantined=quarantined_at is not None,
                context_tokens=context_tokens,
                context_window=context_window,
                failed_compactions=failed_compactions,
                events=events,
                approvals=approvals,
                waits=waits,
                rules=rules,
            )
    except (TypeError, ValueError, OverflowError, OSError):
        pass  # a column holds what was never written there
    raise damaged(db, id, "the row")


def message_of(db: Port, session: SessionRow, row: Row, *, mark_damage: bool = False) -> StoredMessage:
    """Raises `StoreDamagedError`, or marks the message `damaged` where that is asked for."""
    state, seq, at = row["state"], row["seq"], row["created_at"]
    new = NewMessage(
        seq=seq,
        role=row["role"],
        body=row["body"],
        provider=row["provider"],
        place=row["place"],
        pinned=bool(row["pinned"]),
    )
    sound = row["crc"] == seals.message_seal(session.key, new, row["turn"], row["note_of"], at)
    folded_by = row["folded_by"]
    sound = sound and (state == "active" if folded_by is None else state == "compacted_out" and _counts(folded_by))
    if not sound and not mark_damage:
        _check(db, False, session.id, f"message {seq}", seq)
    return StoredMessage(
        seq=seq,
        place=row["place"],
        turn=row["turn"],
        role=row["role"] if sound else "user",
        state=state if sound else "damaged",
        body=row["body"] if sound else '{"role":"user","content":""}',
        provider=row["provider"] if sound else None,
        pinned=bool(row["pinned"]),
        note=row["note_of"] is not None,
        folded_by=row["folded_by"],
        created_at=from_micros(at) if sound else session.created_at,
    )


def active_of(db: Port, session: SessionRow, rows: Iterable[Row]) -> list[ActiveMessage]:
    """The rows of a whole history: `message_of`, for thousands of them at once.

    Raises:
        StoreDamagedError: one is not what was written, or not active.
    """
    found: list[ActiveMessage] = []
    add, crc32 = found.append, zlib.crc32
    numbers = Parts()
    first = numbers[session.key]
    for seq, turn, place, role, state, folded_by, note_of, pinned, body, provider, at, crc in rows:
        try:
            text = (
                f"{first}{numbers[seq]}{numbers[turn]}{numbers[place]}{numbers[note_of]}{numbers[pinned]}{numbers[at]}"
                f"{numbers[role]}{part(body)}{numbers[None] if provider is None else part(provider)}"
            )
            sound = crc32(text.encode("utf-8", "surrogateescape")) == crc and state == "active" and folded_by is None
        except TypeError:  # a column holds what cannot be written here
            sound = False
        if not sound:
            _check(db, False, session.id, f"message {seq}", seq)
        add(ActiveMessage(place, seq, role, body, provider, pinned == 1, note_of is not None))
    return found


class Parts(dict[Text, str]):
    """What a seal makes of values that come again and again."""

    def __missing__(self, value: Text) -> str:
        if len(self) > 10_000:
            self.clear()
        self[value] = made = part(value)
        return made


def turn_of(db: Port, session: SessionRow, row: Row) -> TurnInfo:
    thing = f"turn {row['number']}"
    numbers = (row["number"], row["origin"], row["epoch"])
    crc = seals.turn_seal(session.key, numbers, row["request_id"], row["metadata"], row["owner"], row["started_at"])
    _check(db, row["crc"] == crc, session.id, thing)
    state = _member(db, TurnState, row["state"], session.id, thing)
    ended = row["ended_at"] is not None
    end = (row["status"], row["stop_reason"], row["error_code"], row["error"], row["answer_seq"])
    _check(db, state.live != ended and (not ended or row["end_crc"] == seals.end_seal(*end)), session.id, thing)
    _check(db, _counts(row["rounds"], row["tool_calls"]), session.id, thing)
    when = _Clock(db, session.id, thing)
    return TurnInfo(
        number=row["number"],
        origin=row["origin"],
        request_id=row["request_id"],
        metadata={} if row["metadata"] is None else pydantic_core.from_json(row["metadata"]),
        state=state,
        status=row["status"] if ended else None,
        stop_reason=row["stop_reason"] if ended else None,
        error_code=row["error_code"] if ended else None,
        error=row["error"] if ended else None,
        rounds=row["rounds"],
        tool_calls=row["tool_calls"],
        answer_seq=row["answer_seq"] if ended else None,
        epoch=row["epoch"],
        owner=row["owner"],
        started_at=when.at(row["started_at"]),
        ended_at=when.maybe(row["ended_at"]),
    )


def call_of(db: Port, session: SessionRow, row: Row) -> CallInfo:
    key = CallKey(row["seq"], row["ordinal"])
    thing = f"call {row['id']} of message {key.seq}"
    crc = seals.call_seal(
        session.key,
        key,
        (row["id"], row["name"], row["arguments"]),
        (row["arguments_hash"], row["schema_hash"]),
        row["effect"],
        row["turn"],
        row["requested_at"],
    )
    _check(db, row["crc"] == crc, session.id, thing, key.seq)
    state = _member(db, CallState, row["state"], session.id, thing)
    settled_by = row["settled_by"]
    decision = row["decision"]
    sound = decision in (None, "retry", "report") and state.open == (row["result_seq"] is None) == (settled_by is None)
    ran = state in (CallState.STARTED, CallState.SUCCEEDED, CallState.TIMED_OUT, CallState.REPORTED)
    sound = sound and _counts(row["attempt"], row["epoch"]) and (row["attempt"] == 0) == (row["started_at"] is None)
    sound = sound and (row["attempt"] > 0 or not ran) and (row["attempt"] == 0 or state is not CallState.REQUESTED)
    # Results stand where their answer kept a place for them.
    sound = sound and row["result_seq"] in (None, key.seq + 1 + key.ordinal)
    _check(db, sound, session.id, thing, key.seq)
    when = _Clock(db, session.id, thing)
    return CallInfo(
        key=key,
        turn=row["turn"],
        id=row["id"],
        name=row["name"],
        arguments=row["arguments"],
        arguments_hash=row["arguments_hash"],
        schema_hash=row["schema_hash"],
        effect=_member(db, Effect, row["effect"], session.id, thing),
        state=state,
        settled_by=None if settled_by is None else _member(db, SettledBy, settled_by, session.id, thing),
        decision=decision,
        attempt=row["attempt"],
        epoch=row["epoch"],
        idempotency_key=idempotency_key(session.id, to_micros(session.created_at), key),
        requested_at=when.at(row["requested_at"]),
        started_at=when.maybe(row["started_at"]),
        settled_at=when.maybe(row["settled_at"]),
        result_seq=row["result_seq"],
    )


def check_wait(db: Port, session: SessionRow, row: Row) -> None:
    """Raises `StoreDamagedError` unless what a call waits for is what was written."""
    key = CallKey(row["seq"], row["ordinal"])
    wait = Wait(key=key, arguments=row["arguments"], reason=row["reason"], expires_at=row["expires_at"])
    sound = row["crc"] == seals.wait_seal(session.key, row["kind"], wait, row["asked_at"])
    decision, decided_at = row["decision"], row["decided_at"]
    if decision is not None:
        said = (row["changed"], row["said"], row["part"], row["decided_by"])
        sound = sound and row["decision_crc"] == seals.decision_seal(decision, said, row["failed"], decided_at)
    sound = sound and row["arguments_hash"] == arguments_hash(row["arguments"])
    thing = f"what call {key.ordinal} of message {key.seq} waits for"
    _check(db, sound and (decision is None) == (decided_at is None), session.id, thing, key.seq)


def wait_of(db: Port, session: SessionRow, call: CallInfo, row: Row) -> WaitInfo:
    """What a call waits for, or waited for."""
    check_wait(db, session, row)
    thing = f"what call {call.key.ordinal} of message {call.key.seq} waits for"
    when = _Clock(db, session.id, thing)
    decision = row["decision"]
    return WaitInfo(
        session_id=session.id,
        call_id=call.id,
        name=call.name,
        key=call.key,
        turn=call.turn,
        kind=_member(db, WaitKind, row["kind"], session.id, thing),
        arguments=row["arguments"],
        arguments_hash=row["arguments_hash"],
        reason=row["reason"],
        asked_at=when.at(row["asked_at"]),
        expires_at=when.maybe(row["expires_at"]),
        decision=None if decision is None else _member(db, Decision, decision, session.id, thing),
        changed=row["changed"],
        said=row["said"],
        part=row["part"],
        failed=row["failed"] == 1,
        decided_by=row["decided_by"],
        decided_at=when.maybe(row["decided_at"]),
    )


def memory_of(db: Port, session: SessionRow, row: Row) -> str:
    """The JSON text that a rule remembers."""
    sound = row["crc"] == seals.rule_seal(session.key, row["name"], row["memory"], row["turn"], row["at"])
    _check(db, sound, session.id, f"what rule {row['name']} remembers")
    return str(row["memory"])


def usage_of(db: Port, session: SessionRow, row: Row) -> UsageInfo:
    thing = f"usage row {row['number']}"
    tokens = (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"], row["reasoning_tokens"])
    spent = (row["cost"], row["milliseconds"], row["at"])
    crc = seals.usage_seal(session.key, row["turn"], row["purpose"], row["model"], tokens, spent)
    _check(db, row["crc"] == crc and _counts(row["number"]), session.id, thing)
    return UsageInfo(
        number=row["number"],
        turn=row["turn"],
        purpose=row["purpose"],
        model=row["model"],
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        cached_tokens=tokens[2],
        reasoning_tokens=tokens[3],
        cost=row["cost"],
        milliseconds=row["milliseconds"],
        at=from_micros(row["at"]),
    )


def compaction_of(db: Port, session: SessionRow, row: Row) -> CompactionInfo:
    thing = f"compaction {row['number']}"
    numbers = [row[name] for name in ("number", "turn", "first_seq", "last_seq", "folded", "note_seq", "notes")]
    sound = row["crc"] == seals.compaction_seal(session.key, row["number"], row["strategy"], row["model"])
    _check(
        db, sound and _counts(*numbers, row["before_tokens"], row["after_tokens"]), session.id, thing, row["note_seq"]
    )
    when = _Clock(db, session.id, thing)
    return CompactionInfo(
        number=row["number"],
        turn=row["turn"],
        strategy=row["strategy"],
        first_seq=row["first_seq"],
        last_seq=row["last_seq"],
        folded=row["folded"],
        note_seq=row["note_seq"],
        notes=row["notes"],
        before_tokens=row["before_tokens"],
        after_tokens=row["after_tokens"],
        model=row["model"],
        at=when.at(row["at"]),
        undone_at=when.maybe(row["undone_at"]),
    )


def input_of(db: Port, session: SessionRow, row: Row) -> QueuedInput:
    """One that waits, or was taken in: then its text is empty here, and stands in its message."""
    thing = f"input {row['number']}"
    said = (row["mode"], row["request_id"], row["metadata"], row["body"])
    taken = None if row["turn"] is None else (row["turn"], row["seq"])
    pinned = row["pinned"] == 1
    sound = row["crc"] == seals.input_seal(session.key, said, row["sender"], row["arrived_at"], taken, pinned=pinned)
    _check(db, sound and (taken is None) == (row["body"] is not None), session.id, thing)
    return QueuedInput(
        number=row["number"],
        mode=_member(db, InputMode, row["mode"], session.id, thing),
        request_id=row["request_id"],
        metadata={} if row["metadata"] is None else pydantic_core.from_json(row["metadata"]),
        body=row["body"] or "",
        pinned=pinned,
        sender=row["sender"],
        arrived_at=_Clock(db, session.id, thing).at(row["arrived_at"]),
    )


def output_of(db: Port, session: SessionRow, row: Row) -> str:
    """The whole text of a result."""
    try:
        return whole_of(db, session, row).text
    except (TypeError, ValueError):
        raise damaged(db, session.id, f"the whole text of message {row['seq']}", row["seq"]) from None


def whole_of(db: Port, session: SessionRow, row: Row) -> Output:
    seq = row["seq"]
    try:
        output = Output(characters=row["characters"], data=row["data"])
        if row["crc"] == seals.output_seal(session.key, seq, output):
            return output
    except (TypeError, ValueError):
        pass  # a column holds what was never written there
    raise damaged(db, session.id, f"the whole text of message {seq}", seq)


def damaged(db: Port, session: str, thing: str, seq: int | None = None) -> StoreDamagedError:
    return StoreDamagedError(
        db.path, f"{thing} of session {session!r} is not what was written", WAY_OUT, session_id=session, seq=seq
    )


def _check(db: Port, sound: bool, session: str, thing: str, seq: int | None = None) -> None:
    if not sound:
        raise damaged(db, session, thing, seq)


def _counts(*numbers: object) -> bool:
    """Whether all of these can be what was counted: a damaged row may hold anything."""
    return all(type(number) is int and number >= 0 for number in numbers)


def _member(db: Port, words: type[E], word: str, session: str, thing: str) -> E:
    try:
        return words(word)  # type: ignore[call-arg]
    except ValueError:
        raise damaged(db, session, thing) from None


class _Clock:
    """Times of one row; a number that is no time is damage."""

    def __init__(self, db: Port, session: str, thing: str) -> None:
        self._row = (db, session, thing)

    def at(self, at: int) -> datetime:
        try:
            return from_micros(at)
        except (TypeError, ValueError, OverflowError, OSError):
            raise damaged(*self._row) from None

    def maybe(self, at: int | None) -> datetime | None:
        return None if at is None else self.at(at)
