"""Events read again: each fact as it was, its texts filled in from the rows that have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from llm_client.service import Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import WaitKind
from power_loop.engine.outputs import Output
from power_loop.errors import StoreDamagedError
from power_loop.store import parsing, records, seals
from power_loop.store.events import Packed, parts, unpacked
from power_loop.store.port import Port, Row
from power_loop.store.transactions import rows
from power_loop.values import CallKey, SessionId, from_micros, to_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """A fact with its number."""

    number: int
    at: datetime | None
    """When it was committed; None where that is damaged."""
    fact: f.Fact | StoreDamagedError
    """As it was; or why it, and all before it since the one before, cannot be read: they are damaged or gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events of a session, in order."""

    key: int
    """The session's own, which no other ever gets, not even one of the same id made after it was deleted."""
    last: int
    """The number of its last event: 0 if it has none."""
    events: tuple[StoredEvent, ...]


def events(db: Port, session_id: SessionId, after: int, limit: int) -> EventPage:
    """At most `limit` events behind the cursor `after`, and the number of the session's last.

    Raises:
        SessionNotFoundError: there is no such session.
        StoreDamagedError: nothing of them can be read. What is wrong with single ones stands in their places.
    """
    session = rows.session_row(db, session_id)
    found = db.all("events_after", session=session.key, after=after, limit=limit + 1)
    beside = _Rows(db, session)
    page: list[StoredEvent] = []
    for event in _each(db, session, found, after, whole=len(found) <= limit, beside=beside):
        page.append(event)
        if len(page) == limit:
            break
    return EventPage(key=session.key, last=session.events, events=tuple(page))


class EventRow(NamedTuple):
    """The facts of one commit, as their row has them."""

    number: int
    """The first one's."""
    at: datetime
    parts: list[Packed]


def event_of(db: Port, session: records.SessionRow, row: Row) -> EventRow:
    """Raises `StoreDamagedError` where it is not what was written."""
    number, facts, body, at, crc = row
    try:
        if crc == seals.event_seal(session.key, number, facts, body, at):
            return EventRow(number, from_micros(at), parts(body))
    except (TypeError, ValueError, OverflowError, OSError):
        pass  # a column holds what was never written there
    raise parsing.damaged(db, session.id, f"event {number}")


def _each(
    db: Port, session: records.SessionRow, found: Sequence[Row], after: int, *, whole: bool, beside: _Rows
) -> Iterator[StoredEvent]:
    """The events of these rows; where some cannot be read, one that says why stands for all of them.

    `whole`: no rows come behind these.
    """
    cursor = after
    firsts = [row["number"] for row in found]
    for row, then in zip(found, [*firsts, None][1:], strict=True):
        if row["number"] > cursor + 1:
            cursor = row["number"] - 1
            yield _missing(db, session, cursor)
        try:
            kept = event_of(db, session, row)
        except StoreDamagedError as error:
            # Which ones it held, its neighbours tell.
            last = session.events if then is None and whole else (then or row["number"] + 1) - 1
            cursor = max(cursor, last)
            yield StoredEvent(number=cursor, at=None, fact=error)
            continue
        for number, part in enumerate(kept.parts, kept.number):
            if number > cursor:
                cursor = number
                yield StoredEvent(number=number, at=kept.at, fact=beside.fact(number, part))
    if whole and cursor < session.events:
        yield _missing(db, session, session.events)
    if cursor > max(after, session.events):
        raise parsing.damaged(db, session.id, "the number of events")


def _missing(db: Port, session: records.SessionRow, last: int) -> StoredEvent:
    error = parsing.damaged(db, session.id, f"the list of events, of which those up to {last} are missing,")
    return StoredEvent(number=last, at=None, fact=error)


class _Rows:
    """The rows beside the events of one session."""

    def __init__(self, db: Port, session: records.SessionRow) -> None:
        self._db = db
        self._session = session
        self._calls: dict[CallKey, records.CallInfo] = {}

    def fact(self, number: int, part: Packed) -> f.Fact | StoreDamagedError:
        try:
            return unpacked(part, self._session.id, self)
        except StoreDamagedError as error:
            return error
        except (KeyError, TypeError, ValueError):
            return self._damaged(f"event {number}")

    def message(self, seq: int) -> f.NewMessage:
        row = self._db.one("message_by_seq", session=self._session.key, seq=seq)
        if row is None:
            raise self._damaged(f"message {seq}", seq)
        found = parsing.message_of(self._db, self._session, row)
        place = None if found.place == seq else found.place
        return f.NewMessage(
            seq=seq, role=found.role, body=found.body, provider=found.provider, place=place, pinned=found.pinned
        )

    def output(self, seq: int) -> Output:
        row = self._db.one("output_by_seq", session=self._session.key, seq=seq)
        if row is None:
            raise self._damaged(f"the whole text of message {seq}", seq)
        return parsing.whole_of(self._db, self._session, row)

    def usage(self, number: int) -> f.ModelCall:
        row = self._db.one("usage_by_number", session=self._session.key, number=number)
        if row is None:
            raise self._damaged(f"usage row {number}")
        found = parsing.usage_of(self._db, self._session, row)
        usage = None
        if found.prompt_tokens is not None:
            usage = Usage(
                prompt_tokens=found.prompt_tokens,
                completion_tokens=found.completion_tokens or 0,
                cached_tokens=found.cached_tokens or 0,
                reasoning_tokens=found.reasoning_tokens or 0,
            )
        return f.ModelCall(
            purpose=found.purpose, model=found.model, usage=usage, milliseconds=found.milliseconds, cost=found.cost
        )

    def call(self, key: CallKey) -> f.RequestedCall:
        return self._call(key).requested

    def wait(self, key: CallKey, kind: WaitKind) -> f.Wait:
        found = self._wait(key, kind)
        expires = None if found.expires_at is None else to_micros(found.expires_at)
        return f.Wait(key=key, arguments=found.arguments, reason=found.reason, expires_at=expires)

    def decision(self, key: CallKey) -> records.WaitInfo:
        return self._wait(key, WaitKind.APPROVAL)

    def _call(self, key: CallKey) -> records.CallInfo:
        if key not in self._calls:
            for row in self._db.all("calls_of_answer", session=self._session.key, seq=key.seq):
                if row["ordinal"] == key.ordinal:
                    self._calls[key] = parsing.call_of(self._db, self._session, row)
                    break
            else:
                raise self._damaged(f"call {key.ordinal} of message {key.seq}", key.seq)
        return self._calls[key]

    def _wait(self, key: CallKey, kind: WaitKind) -> records.WaitInfo:
        call = self._call(key)
        for row in self._db.all("waits_of_answer", session=self._session.key, seq=key.seq):
            if (row["ordinal"], row["kind"]) == (key.ordinal, kind):
                return parsing.wait_of(self._db, self._session, call, row)
        raise self._damaged(f"what call {key.ordinal} of message {key.seq} waits for", key.seq)

    def _damaged(self, thing: str, seq: int | None = None) -> StoreDamagedError:
        return parsing.damaged(self._db, self._session.id, thing, seq)
