"""What a store gives back: frozen values, each checked against its row's checksum before anyone believes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import pydantic_core

from llm_client.messages import AssistantMessage, Content, Message, ToolCall, ToolMessage, parse, text_of
from power_loop.engine.calls import CallState, OpenCall, SettledBy, idempotency_key
from power_loop.engine.facts import NewMessage
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import StoreDamagedError
from power_loop.store.port import Port, Row, seal
from power_loop.values import CallKey, Effect, SessionId, from_micros

E = TypeVar("E")

WAY_OUT = "run `power-loop doctor` to list what is damaged; restore those rows from a backup"


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A message of a session as it is stored; parsed when somebody looks inside."""

    seq: int
    place: int
    """Where it stands in the model's order: at `seq`, or, for a note, where the messages it replaces began."""
    turn: int
    """The turn that stored it; 0 before any."""
    role: str
    state: str
    """`active`, `compacted_out`, or `damaged` (only where asked for: its text is not what was written)."""
    body: str
    """The wire text: what the model is sent."""
    provider: str | None
    """JSON of what the endpoint added to an answer, or None."""
    pinned: bool
    note: bool
    """It is the summary note of a compaction."""
    folded_by: int | None
    created_at: datetime

    @cached_property
    def message(self) -> Message:
        return parse(self.body, self.provider)

    @property
    def content(self) -> Content | None:
        return self.message.content

    @property
    def text(self) -> str:
        return text_of(self.message.content)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.message.tool_calls if isinstance(self.message, AssistantMessage) else ()

    @property
    def tool_call_id(self) -> str | None:
        return self.message.tool_call_id if isinstance(self.message, ToolMessage) else None

    def as_dict(self) -> dict[str, Any]:
        """The message as the Chat Completions API writes it."""
        body = pydantic_core.from_json(self.body)
        assert isinstance(body, dict)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInfo:
    number: int
    origin: int
    """The turn whose input this one works on: itself, unless it goes on from an interrupted one."""
    request_id: str | None
    metadata: dict[str, Any]
    """What the app gave with its input."""
    state: TurnState
    status: str | None
    """None while it runs."""
    stop_reason: str | None
    error_code: str | None
    error: str | None
    rounds: int
    tool_calls: int
    answer_seq: int | None
    epoch: int
    owner: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """A call of any state, as the ledger has it."""

    key: CallKey
    turn: int
    id: str
    name: str
    arguments: str
    arguments_hash: str
    schema_hash: str | None
    effect: Effect
    state: CallState
    settled_by: SettledBy | None
    decision: str | None
    attempt: int
    epoch: int
    requested_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    result_seq: int | None

    def shown_open(self, session: SessionId, *, driven: bool) -> OpenCall:
        """As an open call for people; `started` without a driver is in doubt."""
        in_doubt = self.state is CallState.STARTED and not driven
        return OpenCall(
            id=self.id,
            name=self.name,
            arguments=self.arguments,
            state="in_doubt" if in_doubt else str(self.state),
            since=self.started_at or self.requested_at,
            effect=self.effect,
            attempt=self.attempt,
            turn=self.turn,
            key=self.key,
            idempotency_key=idempotency_key(session, self.key),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageInfo:
    """One model call. Token counts are None where the endpoint reported none, `cost` where no price is known."""

    number: int
    turn: int
    purpose: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost: float | None
    milliseconds: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session as its row has it; `SessionInfo` adds what depends on who is alive."""

    key: int
    id: SessionId
    parent: int | None
    model: str | None
    metadata: str | None
    created_at: datetime
    updated_at: datetime
    epoch: int
    owner: str | None
    owner_since: datetime | None
    next_seq: int
    next_turn: int
    active: int
    stop_requested: bool
    archived: bool
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session at a glance."""

    session_id: SessionId
    state: SessionState
    status: str | None
    """How its last turn ended; None before the first and while one runs."""
    stop_reason: str | None
    error: str | None
    pending: tuple[OpenCall, ...]
    owner: str | None
    """Who drives it now, if that process lives."""
    owner_since: datetime | None
    turns: int
    messages: int
    active_messages: int
    parent: str | None
    model: str | None
    metadata: dict[str, Any]
    archived: bool
    closed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def needs_attention(self) -> bool:
        """Somebody has to resume, abort, decide or look."""
        return self.state not in (SessionState.IDLE, SessionState.RUNNING, SessionState.STOPPED) or bool(
            self.pending and self.state is not SessionState.RUNNING
        )


# A row's `crc` seals every column of it that never changes, a turn's `end_crc` those that are written at its end.


def session_seal(
    key: int, id: str, parent: int | None, model: str | None, metadata: str | None, created_at: int
) -> int:
    return seal(key, id, parent, model, metadata, created_at)


def message_seal(session: int, message: NewMessage, turn: int, note_of: int | None, created_at: int) -> int:
    place = message.seq if message.place is None else message.place
    where = (session, message.seq, turn, place, note_of, int(message.pinned), created_at)
    return seal(*where, message.role, message.body, message.provider)


def turn_seal(
    session: int, numbers: tuple[int, int, int], request_id: str | None, metadata: str | None, owner: str, started: int
) -> int:
    """`numbers`: its own, its origin, its epoch."""
    return seal(session, *numbers, request_id, metadata, owner, started)


def end_seal(
    status: str, stop_reason: str | None, error_code: str | None, error: str | None, answer_seq: int | None
) -> int:
    return seal(status, stop_reason, error_code, error, answer_seq)


def call_seal(
    session: int,
    key: CallKey,
    texts: tuple[str, str, str],
    hashes: tuple[str, str | None],
    effect: str,
    turn: int,
    requested_at: int,
) -> int:
    """`texts`: id, name, arguments; `hashes`: of the arguments, of the tool's schema."""
    return seal(session, key.seq, key.ordinal, *texts, *hashes, effect, turn, requested_at)


def usage_seal(
    session: int,
    turn: int,
    purpose: str,
    model: str,
    tokens: Sequence[int | None],
    spent: tuple[float | None, int, int],
) -> int:
    """`spent`: cost, milliseconds, when."""
    return seal(session, turn, purpose, model, *tokens, *spent)


def compaction_seal(session: int, number: int, strategy: str, model: str | None) -> int:
    return seal(session, number, strategy, model)


def is_session(row: Row) -> bool:
    """Whether the row of a session is what was written."""
    texts = (row["id"], row["parent"], row["model"], row["metadata"], row["created_at"])
    return bool(row["crc"] == session_seal(row["key"], *texts))


def session_of(db: Port, row: Row) -> SessionRow:
    numbers = (row["epoch"], row["next_seq"], row["next_turn"], row["active"])
    _check(db, is_session(row) and all(type(number) is int for number in numbers), row["id"], "the row")
    when = _Clock(db, row["id"], "the row")
    return SessionRow(
        key=row["key"],
        id=SessionId(row["id"]),
        parent=row["parent"],
        model=row["model"],
        metadata=row["metadata"],
        created_at=when.at(row["created_at"]),
        updated_at=when.at(row["updated_at"]),
        epoch=row["epoch"],
        owner=row["owner"],
        owner_since=when.maybe(row["owner_since"]),
        next_seq=row["next_seq"],
        next_turn=row["next_turn"],
        active=row["active"],
        stop_requested=row["stop_requested_at"] is not None,
        archived=row["archived_at"] is not None,
        closed=row["closed_at"] is not None,
    )


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
    sound = row["crc"] == message_seal(session.key, new, row["turn"], row["note_of"], at)
    sound = sound and (state == "active" if row["folded_by"] is None else state == "compacted_out")
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


def turn_of(db: Port, session: SessionRow, row: Row) -> TurnInfo:
    thing = f"turn {row['number']}"
    numbers = (row["number"], row["origin"], row["epoch"])
    crc = turn_seal(session.key, numbers, row["request_id"], row["metadata"], row["owner"], row["started_at"])
    _check(db, row["crc"] == crc, session.id, thing)
    state = _member(db, TurnState, row["state"], session.id, thing)
    ended = row["ended_at"] is not None
    end = (row["status"], row["stop_reason"], row["error_code"], row["error"], row["answer_seq"])
    _check(db, state.live != ended and (not ended or row["end_crc"] == end_seal(*end)), session.id, thing)
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
    crc = call_seal(
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
        requested_at=when.at(row["requested_at"]),
        started_at=when.maybe(row["started_at"]),
        settled_at=when.maybe(row["settled_at"]),
        result_seq=row["result_seq"],
    )


def usage_of(db: Port, session: SessionRow, row: Row) -> UsageInfo:
    thing = f"usage row {row['number']}"
    tokens = (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"], row["reasoning_tokens"])
    spent = (row["cost"], row["milliseconds"], row["at"])
    crc = usage_seal(session.key, row["turn"], row["purpose"], row["model"], tokens, spent)
    _check(db, row["crc"] == crc, session.id, thing)
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


def damaged(db: Port, session: str, thing: str, seq: int | None = None) -> StoreDamagedError:
    return StoreDamagedError(
        db.path, f"{thing} of session {session!r} is not what was written", WAY_OUT, session_id=session, seq=seq
    )


def _check(db: Port, sound: bool, session: str, thing: str, seq: int | None = None) -> None:
    if not sound:
        raise damaged(db, session, thing, seq)


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
