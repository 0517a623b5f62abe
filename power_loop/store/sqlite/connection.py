"""A sqlite3 connection as a `Port`: named statements, rows by column name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from power_loop.store.port import Row, Value, statements


class SqlitePort:
    """Runs named statements on one connection. `reached` hears of each before it runs."""

    def __init__(self, connection: sqlite3.Connection, path: str, reached: Callable[[str], None]) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._path = path
        self.reached = reached
        self._sql: Mapping[str, tuple[str, str]] = {
            name: (f"sql.{name}", sql) for name, sql in statements("sqlite").items()
        }

    @property
    def path(self) -> str:
        return self._path

    def run(self, name: str, /, **values: Value) -> int:
        point, sql = self._sql[name]
        self.reached(point)
        return self._connection.execute(sql, values).rowcount

    def insert(self, name: str, /, **values: Value) -> int:
        point, sql = self._sql[name]
        self.reached(point)
        number = self._connection.execute(sql, values).lastrowid
        assert number is not None
        return number

    def one(self, name: str, /, **values: Value) -> Row | None:
        found = self.all(name, **values)
        return found[0] if found else None

    def all(self, name: str, /, **values: Value) -> Sequence[Row]:
        point, sql = self._sql[name]
        self.reached(point)
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
        # A damaged text: read it byte for byte, so that the checksums can say which row it is in.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        try:
            return self._connection.execute(sql, values).fetchall()
        finally:
            self._connection.text_factory = str
