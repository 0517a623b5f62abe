"""What a dead process left on disk, read without touching it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.crash.scenario import Place, acknowledgements, lines

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = dict[str, list[Row]]

TABLES: Final = ("schema_migrations", "sessions", "turns", "messages", "calls", "usage", "compactions")
_ORDER: Final = {
    "schema_migrations": "version",
    "sessions": "key",
    "turns": "number",
    "messages": "seq",
    "calls": "seq, ordinal",
    "usage": "number",
    "compactions": "number",
}
_VOLATILE: Final = ("_at", "at", "owner", "owner_since", "crc", "end_crc", "milliseconds", "checksum")


@dataclass(frozen=True)
class Evidence:
    """`rows` is None where there is no database file; `broken` what SQLite itself has against it."""

    rows: Rows | None
    broken: list[str]
    ledger: list[Row]
    acknowledged: dict[str, Row]
    leftovers: list[str]

    def table(self, name: str) -> list[Row]:
        return [] if self.rows is None else self.rows[name]

    @property
    def open_calls(self) -> list[Row]:
        return [call for call in self.table("calls") if call["result_seq"] is None]

    @property
    def session(self) -> Row | None:
        return next(iter(self.table("sessions")), None)

    @property
    def last_turn(self) -> Row | None:
        return next(reversed(self.table("turns")), None)

    def starts(self) -> Counter[str]:
        """How often each call's function was entered, by idempotency key."""
        return Counter(line["key"] for line in self.ledger if line["event"] == "start")

    def fingerprint(self) -> str:
        """The same for states that a recovery cannot tell apart: all but times and names of owners."""
        rows = None
        if self.rows is not None:
            rows = {
                table: [{k: v for k, v in row.items() if not k.endswith(_VOLATILE)} for row in found]
                for table, found in self.rows.items()
            }
        told = [rows, sorted((line["event"], line["key"]) for line in self.ledger), sorted(self.acknowledged)]
        return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


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
        with closing(sqlite3.connect(copies / place.database.name)) as connection:
            broken = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            broken += [f"foreign key: {tuple(row)}" for row in connection.execute("PRAGMA foreign_key_check")]
            rows = rows_of(connection)
    return Evidence(
        rows=rows,
        broken=broken,
        ledger=lines(place.ledger),
        acknowledged=acknowledgements(place),
        leftovers=sorted(p.name for p in folder.iterdir() if p.name.startswith(".")),
    )


def rows_of(connection: sqlite3.Connection) -> Rows:
    connection.row_factory = sqlite3.Row
    connection.execute("BEGIN")
    return {
        table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {_ORDER[table]}")]
        for table in TABLES
    }


def key_of(call: Row, session: Row | None) -> str:
    """The idempotency key of a call, put together here from what the file says."""
    assert session is not None
    return f"{session['id']}@{session['created_at']:x}/{call['seq']}.{call['ordinal']}"
