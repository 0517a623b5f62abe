"""Counts the commits of whoever uses sqlite3 in this process, by what its connections run. Too slow to time with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER", "WITH")


class Counted:
    def __init__(self) -> None:
        self.commits = 0

    def listener(self) -> Callable[[str], None]:
        """What hears of the statements of one connection. A commit that wrote nothing is none."""
        inside, wrote = False, False

        def hear(statement: str) -> None:
            nonlocal inside, wrote
            word = statement.lstrip()[:8].upper()
            if word.startswith("BEGIN"):
                inside, wrote = True, False
            elif word.startswith(("COMMIT", "END")):
                self.commits += wrote
                inside = wrote = False
            elif word.startswith("ROLLBACK") and "TO" not in statement.upper().split():
                inside = wrote = False
            elif word.startswith(_WRITES):
                wrote = inside
                self.commits += not inside

        return hear


def installed() -> Counted:
    """Listens to every connection made from now on."""
    counted, connect = Counted(), sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **options)
        db.set_trace_callback(counted.listener())
        return db

    sqlite3.connect = sqlite3.dbapi2.connect = connected  # type: ignore[assignment]
    return counted
