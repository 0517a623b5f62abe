"""Every row of every table, read and believed only if it is what was written.

For the doctor, and for whoever must show what is left: a row that cannot be believed is said, and keeps no other from
being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from power_loop.errors import StoreDamagedError, StoreError
from power_loop.store import listing, parsing, records, replaying
from power_loop.store.port import Port, Row
from power_loop.store.sqlite.doctor.findings import RESTORE, Finding, Grade, Spot
from power_loop.store.sqlite.faults import translated
from power_loop.store.transactions import manage
from power_loop.store.transactions.begin import Drives
from power_loop.values import SessionId


def checksums(db: Port) -> Finding:
    """Read every row of every table and believe none that is not what was written."""
    spots: list[Spot] = []
    count = 0
    for row in db.all("doctor_sessions"):
        session = _as_stored(row)
        count += 1
        try:
            with _believed(db, session.id, "the row"):
                *sealed, _, _ = row  # but for the request to stop it
                parsing.session_of(db, sealed)
        except StoreDamagedError as error:
            spots.append(Spot(session=session.id, table="sessions", what=error.problem))
        if not manage.is_stop_request(row):
            what = f"the request to stop session {session.id!r} is not what was written"
            spots.append(Spot(session=session.id, table="sessions", what=what))
        for table, statement, read in _TABLES:
            for wrong in _scan(db, session, table, statement, read):
                count += 1
                spots += [] if wrong is None else [wrong]
    if not spots:
        return Finding(name="checksums", words=f"all {count:,} rows are what was written")
    sessions = len({spot.session for spot in spots})
    return Finding(
        name="checksums",
        grade=Grade.BAD,
        words=f"{len(spots)} of {count:,} rows, in {sessions} session(s), are not what was written",
        way_out=RESTORE,
        spots=tuple(spots),
    )


def each_read(db: Port, drives: Drives) -> Iterator[records.SessionInfo | StoreDamagedError]:
    for row in db.all("doctor_sessions"):
        try:
            with _believed(db, row["id"], "a row"):
                yield listing.session_info(db, drives, SessionId(row["id"]))
        except StoreDamagedError as error:
            yield error


def _scan(
    db: Port, session: records.SessionRow, table: str, statement: str, read: Callable[..., object]
) -> Iterator[Spot | None]:
    """For each row of a table of one session: None, or what is wrong with it."""
    try:
        with translated(db.path):
            rows = db.all(statement, session=session.key)
    except StoreError as error:
        yield Spot(session=session.id, table=table, what=f"{table} of session {session.id!r}: {error.problem}")
        return
    for row in rows:
        try:
            with _believed(db, session.id, f"a row of {table}"):
                read(db, session, row)
        except StoreDamagedError as error:
            seq = row["seq"] if table in ("messages", "calls", "outputs", "waits") else error.seq
            yield Spot(session=session.id, table=table, seq=seq, what=error.problem)
        else:
            yield None


@contextmanager
def _believed(db: Port, session: str, thing: str) -> Iterator[None]:
    """Within, a number that stands for no time at all is damage too."""
    try:
        yield
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise parsing.damaged(db, session, f"{thing} ({error})") from error


_TABLES: Final[Sequence[tuple[str, str, Callable[..., object]]]] = (
    ("turns", "list_turns", parsing.turn_of),
    ("messages", "all_messages", parsing.message_of),
    ("calls", "list_calls", parsing.call_of),
    ("usage", "list_usage", parsing.usage_of),
    ("compactions", "list_compactions", parsing.compaction_of),
    ("inputs", "list_inputs", parsing.input_of),
    ("outputs", "list_outputs", parsing.output_of),
    ("waits", "list_waits", parsing.check_wait),
    ("rules", "memories", parsing.memory_of),
    ("events", "list_events", replaying.event_of),
)


def _as_stored(row: Row) -> records.SessionRow:
    """Enough of a session, sound or not, to read what hangs on it."""
    long_ago = datetime.fromtimestamp(0, UTC)
    return records.SessionRow(
        key=row["key"], id=SessionId(row["id"]), parent=None, model=None, metadata=None, created_at=long_ago,
        updated_at=long_ago, epoch=0, owner=None, owner_since=None, next_seq=1, next_turn=1, active=0, usage_rows=0,
        stop_requested=False, archived=False, closed=False, recoveries=0, quarantined=False,
        context_tokens=None, context_window=None, failed_compactions=0, events=0, approvals=None, waits=0, rules=0,
    )  # fmt: skip
