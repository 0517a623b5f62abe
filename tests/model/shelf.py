"""The file, read by a program of its own: every session as the book's dict, and what must hold of any file."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, TypeAlias

from llm_client.messages import parse
from power_loop.store.sqlite.connection import SqlitePort
from power_loop.store.sqlite.doctor import Grade, each_session, examine
from power_loop.store.sqlite.doctor.examination import foreign_keys, integrity
from power_loop.store.sqlite.doctor.invariants import consistency
from power_loop.store.sqlite.doctor.scan import checksums
from power_loop.transcript.rules import violations

Session: TypeAlias = dict[str, Any]
LIVE = ("asking", "acting")
OPEN = ("requested", "started")


class Shelf:
    """One database. Only reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self._db.row_factory = sqlite3.Row

    def close(self) -> None:
        self._db.close()

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(statement, values).fetchall()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        names = [row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sorted((tuple(row) for row in self._rows(f"SELECT * FROM {name}")), key=repr) for name in names}

    def sessions(self) -> dict[str, Session]:
        """All that the book knows of, as the file has it, in one view."""
        self._db.execute("BEGIN")
        try:
            return {row["id"]: self._session(row) for row in self._rows("SELECT * FROM sessions")}
        finally:
            self._db.execute("ROLLBACK")

    def _session(self, row: sqlite3.Row) -> Session:
        key = row["key"]
        messages = self._rows("SELECT * FROM messages WHERE session = ? ORDER BY seq", key)
        words = {message["seq"]: json.loads(message["body"]).get("content") for message in messages}
        return {
            "closed": row["closed_at"] is not None,
            "archived": row["archived_at"] is not None,
            "quarantined": row["quarantined_at"] is not None,
            "recoveries": row["recoveries"],
            "owner": pid_of(row["owner"]),
            "messages": [said(m) for m in messages if m["role"] != "tool" and m["note_of"] is None],
            "turns": [
                {name: turn[name] for name in ("origin", "state", "status", "request_id", "rounds", "tool_calls")}
                | {"answer": words.get(turn["answer_seq"])}
                for turn in self._rows("SELECT * FROM turns WHERE session = ? ORDER BY number", key)
            ],
            "calls": {
                call["id"]: call_of(call, words)
                for call in self._rows("SELECT * FROM calls WHERE session = ? ORDER BY seq, ordinal", key)
            },
            "usage": [
                usage["purpose"]
                for usage in self._rows("SELECT * FROM usage WHERE session = ? ORDER BY number", key)
                if usage["purpose"] != "summary"
            ],
            "waiting": [
                {"text": json.loads(i["body"])["content"], "mode": i["mode"], "request_id": i["request_id"],
                 "sender": pid_of(i["sender"])}
                for i in self._rows("SELECT * FROM inputs WHERE session = ? AND turn IS NULL ORDER BY number", key)
            ],
            "taken": {
                i["request_id"]: i["turn"]
                for i in self._rows("SELECT * FROM inputs WHERE session = ? AND turn IS NOT NULL", key)
                if i["request_id"] is not None
            },
        }  # fmt: skip

    def shown(self, session: str) -> list[str]:
        """What the model sees of a session: the texts of its active messages."""
        return [
            row["body"]
            for row in self._rows(
                "SELECT m.body FROM messages m JOIN sessions s ON s.key = m.session"
                " WHERE s.id = ? AND m.state = 'active' ORDER BY m.place",
                session,
            )
        ]

    def numbers(self) -> dict[str, tuple[int, int, int]]:
        """What never goes back, by session: its epoch, its usage rows, its next message."""
        return {
            row["id"] + f"#{row['key']}": (row["epoch"], row["usage_rows"], row["next_seq"])
            for row in self._rows("SELECT * FROM sessions")
        }

    def waiting_numbers(self, session: str) -> list[int]:
        return [
            row[0]
            for row in self._rows(
                "SELECT number FROM inputs JOIN sessions s ON s.key = session WHERE s.id = ? AND turn IS NULL"
                " ORDER BY number",
                session,
            )
        ]

    def wrong(self, *, whole: bool) -> list[str]:
        """What is wrong with the file, whatever happened to it; `whole`: ask the doctor all that it can tell."""
        if whole:
            findings = examine(self.path)
        else:
            db = SqlitePort(self._db, str(self.path), lambda point: None)
            self._db.execute("BEGIN")
            findings = [integrity(db), foreign_keys(db), checksums(db), *consistency(db)]
            self._db.execute("ROLLBACK")
        found = [f"{f.name}: {f.words} {f.spots}" for f in findings if f.grade is Grade.BAD]
        many = "SELECT session FROM turns WHERE ended_at IS NULL GROUP BY session HAVING count(*) > 1"
        found += [f"session number {row['session']} has several live turns" for row in self._rows(many)]
        for row in self._rows("SELECT id FROM sessions"):
            found += [f"{row['id']}: {problem}" for problem in self._violations(row["id"])]
        return found

    def _violations(self, session: str) -> list[str]:
        """The rules of the provider that the history breaks, but for calls that are open."""
        texts = self.shown(session)
        calls = self.sessions_open(session)
        messages = [parse(text) for text in texts]
        answered = {message.tool_call_id for message in messages if message.role == "tool"}  # type: ignore[union-attr]
        opened = [{"role": "tool", "content": "open", "tool_call_id": call} for call in calls - answered]
        messages += [parse(json.dumps(body)) for body in opened]
        # Results of open calls belong directly after their answer, in their order.
        return violations(_sorted(messages))

    def sessions_open(self, session: str) -> set[str]:
        return {
            row["id"]
            for row in self._rows(
                "SELECT c.id FROM calls c JOIN sessions s ON s.key = c.session WHERE s.id = ? AND c.result_seq IS NULL",
                session,
            )
        }

    def told(self) -> dict[str, Any]:
        """Every session as `get_session` shows it."""
        told = {}
        for info in each_session(self.path):
            assert not isinstance(info, Exception), info
            told[str(info.session_id)] = info
        return told


def _sorted(messages: list[Any]) -> list[Any]:
    """Results put in at the end moved to the other results of their answer."""
    asked = {call.id: at for at, m in enumerate(messages) for call in getattr(m, "tool_calls", None) or ()}
    keyed = [
        ((asked[m.tool_call_id], 1, at) if getattr(m, "tool_call_id", None) in asked else (at, 0, at), m)
        for at, m in enumerate(messages)
    ]
    return [message for _, message in sorted(keyed, key=lambda pair: pair[0])]


def pid_of(owner: str | None) -> int | None:
    """The process id in an owner's name."""
    return None if owner is None else int(owner.split(":")[1])


def said(row: sqlite3.Row) -> tuple[str, Any, int]:
    """A message: its role, what it says (of an answer with calls, their ids), and the turn that stored it."""
    body = json.loads(row["body"])
    calls = [call["id"] for call in body.get("tool_calls", ())]
    content = body.get("content")
    return (row["role"], calls or content, row["turn"])


def call_of(row: sqlite3.Row, words: dict[int, Any]) -> dict[str, Any]:
    by = row["settled_by"]
    call = {
        name: row[name]
        for name in ("name", "arguments", "effect", "schema_hash", "state", "settled_by", "attempt", "turn", "decision")
    }
    worded = by in ("person", "reconcile") or (by == "run" and row["state"] == "succeeded")
    return call | {"said": words[row["result_seq"]] if worded else None}
