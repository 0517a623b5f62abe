"""Where the bytes of a database file are: by table and index (SQLite's `dbstat`), and by column."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.scale.group import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A table or an index. Its bytes are its pages, full or not."""

    name: str
    kind: str
    rows: int
    bytes: int
    payload: int
    """Of the bytes, what the rows themselves take, headers of records included."""
    unused: int
    """Of the bytes, what is free inside pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    table: str
    name: str
    bytes: int
    """What the values take in the table's records; indexes repeat some of them."""


_PARTS: Final = """
SELECT d.name, coalesce(s.type, 'table'), sum(d.pgsize), sum(d.payload), sum(d.unused),
       sum(iif(d.pagetype = 'leaf' OR s.type = 'index' OR s.sql LIKE '%WITHOUT ROWID%', d.ncell, 0))
  FROM dbstat d LEFT JOIN sqlite_master s ON s.name = d.name
 GROUP BY d.name ORDER BY 3 DESC
"""

_BYTES: Final = """
CASE typeof({0}) WHEN 'text' THEN length(CAST({0} AS BLOB)) WHEN 'blob' THEN length({0}) WHEN 'real' THEN 8
     WHEN 'null' THEN 0
     ELSE CASE WHEN {0} IN (0, 1) THEN 0 WHEN {0} BETWEEN -128 AND 127 THEN 1 WHEN {0} BETWEEN -32768 AND 32767 THEN 2
               WHEN {0} BETWEEN -8388608 AND 8388607 THEN 3 WHEN {0} BETWEEN -2147483648 AND 2147483647 THEN 4
               WHEN {0} BETWEEN -140737488355328 AND 140737488355327 THEN 6 ELSE 8 END END
"""
"""How many bytes SQLite's record format takes for a value."""


def parts_of(path: Path | str) -> list[Part]:
    """Every table and index, the largest first; pages on the free list and of pointer maps as one more.

    Raises:
        sqlite3.OperationalError: this SQLite was built without `dbstat`.
    """
    with closing(sqlite3.connect(path)) as connection:
        parts = [
            Part(name=name, kind=kind, rows=rows, bytes=bytes_, payload=payload, unused=unused)
            for name, kind, bytes_, payload, unused, rows in connection.execute(_PARTS)
        ]
    rest = Path(path).stat().st_size - sum(part.bytes for part in parts)
    return [*parts, Part(name="(free pages, pointer maps)", kind="", rows=0, bytes=rest, payload=0, unused=rest)]


def columns_of(path: Path | str) -> list[Column]:
    """Every column that takes bytes in its table, the largest first."""
    found = []
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, name, kind, _, _, key in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                if key == 1 and kind == "INTEGER" and _is_rowid(connection, table):
                    continue  # the key of the tree, no value of the record
                value = _BYTES.format(f'"{name}"')
                (taken,) = connection.execute(f'SELECT coalesce(sum({value}), 0) FROM "{table}"').fetchone()
                if taken:
                    found.append(Column(table=table, name=name, bytes=taken))
    return sorted(found, key=lambda column: -column.bytes)


def _is_rowid(connection: sqlite3.Connection, table: str) -> bool:
    """Whether an INTEGER PRIMARY KEY of one column is the rowid itself."""
    keys = [row for row in connection.execute(f'PRAGMA table_info("{table}")') if row[5]]
    indexed = connection.execute(f'PRAGMA index_list("{table}")').fetchall()
    return len(keys) == 1 and not any(origin == "pk" for _, _, _, origin, _ in indexed)


def raw_size_of(path: Path | str, new: Path | str) -> int:
    """The bytes the same messages take in the raw table of `group`, in the order they were written: the floor."""
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute(SCHEMA)
        connection.execute("ATTACH ? AS theirs", (str(path),))
        connection.execute(
            "INSERT INTO main.messages SELECT session, seq, role, body FROM theirs.messages ORDER BY rowid"
        )
    return Path(new).stat().st_size


def conversation_of(path: Path | str) -> tuple[int, int]:
    """How many messages there are, and the bytes of their JSON texts."""
    with closing(sqlite3.connect(path)) as connection:
        messages, texts = connection.execute(
            "SELECT count(*), sum(length(CAST(body AS BLOB))) FROM messages"
        ).fetchone()
    return messages, texts
