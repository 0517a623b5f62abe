"""Which statements an operation of a store runs, with which values, and how SQLite goes about them.

The one file here that reaches into `SqliteStore`: it stands between the store and its ports, and counts the steps of
SQLite's virtual machine on its connections. Steps are counts: they do not depend on the machine.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from power_loop.store.port import Row, Value, statements

# A virtual table is a list of values, handed in as one text.
_SCAN: Final = re.compile(r"^SCAN (?!CONSTANT ROW|\(|\S+ VIRTUAL TABLE)(\S+)(.* USING (?:COVERING )?INDEX)?")
_SUBQUERY: Final = re.compile(r"^(?:CO-ROUTINE|MATERIALIZE) (\S+)")


@dataclass(slots=True)
class Run:
    """One named statement with its values, as it was run."""

    name: str
    values: Mapping[str, Value]


class Listening:
    """A `Port` that notes what goes through it."""

    def __init__(self, inner: Any, heard: list[Run]) -> None:
        self._inner = inner
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, name: str, /, **values: Value) -> int:
        self._heard.append(Run(name, values))
        changed: int = self._inner.run(name, **values)
        return changed

    def insert(self, name: str, /, **values: Value) -> int:
        self._heard.append(Run(name, values))
        number: int = self._inner.insert(name, **values)
        return number

    def one(self, name: str, /, **values: Value) -> Row | None:
        self._heard.append(Run(name, values))
        found: Row | None = self._inner.one(name, **values)
        return found

    def all(self, name: str, /, **values: Value) -> Sequence[Row]:
        self._heard.append(Run(name, values))
        found: Sequence[Row] = self._inner.all(name, **values)
        return found


@dataclass(slots=True)
class Heard:
    """What an operation did in the database."""

    runs: list[Run] = field(default_factory=list)
    steps: int = 0
    """Of SQLite's virtual machine, on the writer and the reader together; what foreign keys ask for is among them."""

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(run.name for run in self.runs))


@contextmanager
def listening(store: Any, *, count_steps: bool = False) -> Iterator[Heard]:
    """Note what a `SqliteStore` runs within. Counting steps makes it slow: time nothing then."""
    heard = Heard()
    holders = [holder for holder in (store, store._writer) if holder is not None]
    ports = [holder._port for holder in holders]

    def step() -> None:
        heard.steps += 1

    connections: list[sqlite3.Connection] = [thread.raw for thread in store._threads] if count_steps else []
    for holder, port in zip(holders, ports, strict=True):
        holder._port = Listening(port, heard.runs)
    for connection in connections:
        connection.set_progress_handler(step, 1)
    try:
        yield heard
    finally:
        for connection in connections:
            connection.set_progress_handler(None, 1)
        for holder, port in zip(holders, ports, strict=True):
            holder._port = port
    assert heard.runs, "nothing was heard: the store does not go through its ports any more"


def reader_of(path: Path | str) -> sqlite3.Connection:
    """A bare connection of one's own, which only reads."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)


def replay(connection: sqlite3.Connection, runs: Sequence[tuple[str, Mapping[str, Value]]]) -> int:
    """Run statements as one read, every row fetched, by sqlite3 alone; how many rows came."""
    connection.execute("BEGIN")
    found = sum(len(connection.execute(sql, values).fetchall()) for sql, values in runs)
    connection.execute("ROLLBACK")
    return found


def with_text(runs: Sequence[Run]) -> list[tuple[str, Mapping[str, Value]]]:
    texts = statements("sqlite")
    return [(texts[run.name], run.values) for run in runs]


@dataclass(slots=True)
class Plans:
    """Lines of EXPLAIN QUERY PLAN, each with the name of its statement."""

    table_scans: list[str] = field(default_factory=list)
    """A table read from end to end."""
    index_walks: list[str] = field(default_factory=list)
    """An index read in its order, until there is enough: fine under a LIMIT, if no condition skips many rows."""
    sorts: list[str] = field(default_factory=list)


class _Absent(dict[str, Any]):
    def __missing__(self, key: str) -> None:
        return None


def plans_of(path: Path | str, names: Sequence[str]) -> Plans:
    """How SQLite would run named statements in this database."""
    texts = statements("sqlite")
    plans = Plans()
    with closing(reader_of(path)) as connection:
        for name in names:
            if texts[name].lstrip().upper().startswith("PRAGMA"):
                continue
            explained = connection.execute(f"EXPLAIN QUERY PLAN {texts[name]}", _Absent()).fetchall()
            lines: list[str] = [row[-1] for row in explained]
            subqueries = {found[1] for found in map(_SUBQUERY.match, lines) if found}
            for line in lines:
                scan = _SCAN.match(line)
                if scan and scan[1] not in subqueries:
                    (plans.index_walks if scan[2] else plans.table_scans).append(f"{name}: {line}")
                elif line.startswith("USE TEMP B-TREE"):
                    plans.sorts.append(f"{name}: {line}")
    return plans
