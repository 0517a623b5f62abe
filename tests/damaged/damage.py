"""A way to damage a sound database, and what that does to a doctor's report."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from power_loop.engine.facts import NewMessage, Wait
from power_loop.engine.outputs import Output
from power_loop.store import seals
from power_loop.store.port import seal
from power_loop.values import CallKey


@dataclass(frozen=True, kw_only=True)
class Damage:
    """`rule` is the finding it is made for; `also` are the others that cannot but notice."""

    name: str
    rule: str
    do: Callable[[Path], object]
    words: str = ""
    session: str | None = None
    seq: int | None = None
    also: tuple[str, ...] = ()
    code: str | None = None
    warns: bool = False
    """It is a warning: something works that somebody should look at."""


def run(path: Path, *statements: str) -> None:
    """By another hand, which keeps no rule of ours."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, f"nothing was damaged: {statement}"


def reseal(path: Path) -> None:
    """Make every checksum right, as a program that writes nonsense would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA ignore_check_constraints = ON")

        def each(table: str, seal_of: Callable[[sqlite3.Row], int | None], column: str = "crc") -> None:
            keys = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})") if row["pk"]]
            where = " AND ".join(f"{key} = ?" for key in keys)
            for row in connection.execute(f"SELECT * FROM {table}").fetchall():
                of = [row[key] for key in keys]
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [seal_of(row), *of])

        each(
            "sessions",
            lambda r: seals.session_seal(
                *(r[c] for c in ["key", "id", "parent", "model", "metadata", "created_at", "approvals"])
            ),
        )
        each("sessions", _stop, "stop_crc")
        each("messages", _message)
        each("turns", lambda r: seals.turn_seal(r["session"], (r["number"], r["origin"], r["epoch"]), r["request_id"],
                                                r["metadata"], r["owner"], r["started_at"]))  # fmt: skip
        ends = ["status", "stop_reason", "error_code", "error", "answer_seq"]
        each("turns", lambda r: None if r["ended_at"] is None else seals.end_seal(*(r[c] for c in ends)), "end_crc")
        each("calls", _call)
        each("usage", _usage)
        each("inputs", _input)
        each("outputs", lambda r: seals.output_seal(r["session"], r["seq"], Output(characters=r["characters"],
                                                                                   data=r["data"])))  # fmt: skip
        each("waits", lambda r: seals.wait_seal(r["session"], r["kind"], Wait(key=CallKey(r["seq"], r["ordinal"]),
             arguments=r["arguments"], reason=r["reason"], expires_at=r["expires_at"]), r["asked_at"]))  # fmt: skip
        each("waits", lambda r: None if r["decision"] is None else seals.decision_seal(
             r["decision"], (r["changed"], r["said"], r["part"], r["decided_by"]), r["failed"], r["decided_at"]),
             "decision_crc")  # fmt: skip
        each("rules", lambda r: seals.rule_seal(r["session"], r["name"], r["memory"], r["turn"], r["at"]))
        each("events", lambda r: seals.event_seal(r["session"], r["number"], r["facts"], r["body"], r["at"]))
        each("compactions", lambda r: seals.compaction_seal(r["session"], r["number"], r["strategy"], r["model"]))


def _input(row: sqlite3.Row) -> int:
    said = (row["mode"], row["request_id"], row["metadata"], row["body"])
    taken = None if row["turn"] is None else (row["turn"], row["seq"])
    return seals.input_seal(row["session"], said, row["sender"], row["arrived_at"], taken, pinned=row["pinned"] == 1)


def _stop(row: sqlite3.Row) -> int | None:
    texts = (row["key"], row["stop_reason"], row["stop_requested_at"])
    return None if row["stop_requested_at"] is None else seal(*texts)


def _message(row: sqlite3.Row) -> int:
    new = NewMessage(
        seq=row["seq"], role=row["role"], body=row["body"], provider=row["provider"], place=row["place"],
        pinned=bool(row["pinned"]),
    )  # fmt: skip
    return seals.message_seal(row["session"], new, row["turn"], row["note_of"], row["created_at"])


def _call(row: sqlite3.Row) -> int:
    return seals.call_seal(
        row["session"], CallKey(row["seq"], row["ordinal"]), (row["id"], row["name"], row["arguments"]),
        (row["arguments_hash"], row["schema_hash"]), row["effect"], row["turn"], row["requested_at"],
    )  # fmt: skip


def _usage(row: sqlite3.Row) -> int:
    tokens = [row[f"{kind}_tokens"] for kind in ("prompt", "completion", "cached", "reasoning")]
    spent = (row["cost"], row["milliseconds"], row["at"])
    return seals.usage_seal(row["session"], row["turn"], row["purpose"], row["model"], tokens, spent)
