"""What a dead process left on disk, read without touching it, and without the store's own code."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from llm_client.messages import Message, parse
from power_loop.store.sqlite.doctor import Grade, examine
from power_loop.testing.crash.place import Line, Place, lines
from power_loop.testing.crash.remote import FakeRemote

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = dict[str, list[Row]]

_TABLES: Final = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
_KEY: Final = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"
_VOLATILE: Final = ("_at", "owner", "owner_since", "crc", "milliseconds", "checksum")

_NOTE: Final = {"Noted": "message", "AnswerContinued": "note"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`rows` is None where there is no database file; `broken` what SQLite and the doctor have against it."""

    rows: Rows | None
    """Every row of every table, in the order of its primary key."""
    broken: list[str]
    runs: list[Line]
    sent: list[Line]
    asked: list[Line]
    remote: FakeRemote
    leftovers: list[str]
    """Files that were not made whole."""
    complete: bool = False
    """At the very end, where all of the work was done."""

    def table(self, name: str) -> list[Row]:
        return [] if self.rows is None else self.rows.get(name, [])

    @cached_property
    def sessions(self) -> list[SessionRows]:
        return [
            SessionRows(row, {name: _of(row["key"], found) for name, found in (self.rows or {}).items()})
            for row in self.table("sessions")
        ]

    @property
    def acknowledged(self) -> list[Line]:
        """What clients were told, in order: sessions made (their request is None) and inputs answered."""
        return [line for line in self.sent if line["event"] == "heard"]

    @property
    def begun(self) -> list[Line]:
        """Inputs that clients began to send, the same one once for each try."""
        return [line for line in self.sent if line["event"] == "sending"]

    def starts(self) -> Counter[str]:
        """How often each call's function was entered, by idempotency key."""
        return Counter(line["key"] for line in self.runs if line["event"] == "start")

    def fingerprint(self) -> str:
        """The same for states that a recovery cannot tell apart: all but times and names of owners."""
        rows = None
        if self.rows is not None:
            rows = {
                table: [{k: v for k, v in row.items() if k != "at" and not k.endswith(_VOLATILE)} for row in found]
                for table, found in self.rows.items()
            }
        heard = sorted((line["session"] or "", line["request"] or "") for line in self.acknowledged)
        told = [rows, sorted((line["event"], line["call"]) for line in self.runs), heard]
        return hashlib.blake2b(json.dumps(told, sort_keys=True, default=bytes.hex).encode(), digest_size=8).hexdigest()

    def at_the_end(self, *, complete: bool) -> Evidence:
        return replace(self, complete=complete)


@dataclass(frozen=True)
class SessionRows:
    """One session's row and the rows that belong to it."""

    row: Row
    rows: Rows

    @property
    def id(self) -> str:
        return str(self.row["id"])

    def table(self, name: str) -> list[Row]:
        return self.rows.get(name, [])

    @cached_property
    def messages(self) -> dict[int, Message]:
        """Every message by its number."""
        return {row["seq"]: parse(row["body"]) for row in self.table("messages")}

    @property
    def open_calls(self) -> list[Row]:
        return [call for call in self.table("calls") if call["result_seq"] is None]

    @property
    def last_turn(self) -> Row | None:
        return next(reversed(self.table("turns")), None)

    @property
    def active(self) -> list[Row]:
        """The messages the model sees, in its order."""
        return sorted((row for row in self.table("messages") if row["state"] == "active"), key=place_of)

    def key_of(self, call: Row) -> str:
        """The idempotency key of a call, put together here from what the file says."""
        return f"{self.id}@{self.row['created_at']:x}/{call['seq']}.{call['ordinal']}"


def place_of(message: Row) -> tuple[int, int]:
    return message["place"], message["seq"]


def collect(place: Place) -> Evidence:
    """Read copies: opening the file itself would tidy its log, and the recovery would not find what the dead left."""
    rows, broken = None, []
    folder = place.database.parent
    if place.database.exists():
        copies = place.folder / "copy"
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir()
        for suffix in ("", "-wal"):
            source = place.database.with_name(place.database.name + suffix)
            if source.exists():
                shutil.copyfile(source, copies / source.name)
        copy = copies / place.database.name
        with closing(sqlite3.connect(copy)) as connection:
            broken = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            broken += [f"foreign key: {tuple(row)}" for row in connection.execute("PRAGMA foreign_key_check")]
            rows = rows_of(connection)
        for finding in examine(copy):
            if finding.grade is Grade.BAD:
                spots = "; ".join(f"session {spot.session}: {spot.what}" for spot in finding.spots)
                broken.append(f"doctor: {finding.name}: {finding.words} ({spots})")
    return Evidence(
        rows=rows,
        broken=broken,
        runs=lines(place.runs),
        sent=lines(place.sent),
        asked=lines(place.asked),
        remote=FakeRemote(place.remote),
        leftovers=sorted(p.name for p in folder.iterdir() if p.name.startswith(".")),
    )


def is_locked(database: Path) -> bool:
    """Whether somebody holds the write lock: a process that was stopped inside a commit still does."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=0, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


def rows_of(connection: sqlite3.Connection) -> Rows:
    """Every row of every table the file has, as it says itself."""
    connection.row_factory = sqlite3.Row
    connection.execute("BEGIN")
    found: Rows = {}
    for table in connection.execute(_TABLES).fetchall():
        order = [row["name"] for row in connection.execute(_KEY, (table["name"],))]
        # A table's name cannot be a parameter; it comes from the file's own schema, and is quoted.
        read = connection.execute('SELECT * FROM "' + table["name"].replace('"', '""') + '"')
        found[table["name"]] = sorted(map(dict, read), key=itemgetter(*order))
    connection.rollback()
    return found


def _of(session: int, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.get("session") == session]


def notes_of_rules(session: SessionRows) -> set[int]:
    """The messages that rules of the loop wrote, as the events say."""
    said = [part for row in session.table("events") for part in json.loads(row["body"])]
    notes = [part[_NOTE[part["fact"]]] for part in said if part["fact"] in _NOTE]
    return {note if isinstance(note, int) else note[0] for note in notes}
