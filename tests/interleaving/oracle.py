"""What must be true of every schedule. Each function gives problems in words."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from llm_client.messages import parse
from power_loop import (
    EpochLostError,
    LoopClosedError,
    ModelError,
    SessionBusyError,
    SessionExistsError,
    SessionNotFoundError,
    SessionPendingError,
    StatefulAgentLoop,
    Status,
)
from power_loop.errors import CallNotFoundError, CallSettledError, SessionArchivedError, SessionClosedError
from power_loop.store.port import statements
from power_loop.transcript.rules import violations
from tests.interleaving.agent import Account
from tests.interleaving.scenario import INPUTS, Attempt, Play

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = dict[str, list[Row]]

REFUSALS = (
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionExistsError,
    SessionNotFoundError,
    SessionPendingError,
)
"""Raised before anything was written."""
LOSSES = (CallNotFoundError, CallSettledError, EpochLostError, LoopClosedError, ModelError)
ANSWERED = (Status.COMPLETED, Status.HIT_ROUND_LIMIT)
TABLES = ("sessions", "turns", "messages", "calls", "usage", "compactions", "inputs")
CLOSE_WATCH = (
    "active_count", "no_seq_gaps", "turns_numbered", "owner_has_a_live_turn", "live_turn_has_an_owner", "one_live_turn",
    "calls_of_answers", "result_is_of_its_call", "protocol", "open_calls_at_the_end", "open_calls_fit_the_turn",
    "settled_call_has_its_evidence", "input_in_its_message", "request_waits_once", "closed_has_no_inputs",
)  # fmt: skip
"""The doctor's invariants that are looked at after every commit."""


def rows_of(path: Path) -> Rows:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return read(db)


def read(db: sqlite3.Connection) -> Rows:
    db.row_factory = sqlite3.Row
    db.execute("BEGIN")
    found = {name: [dict(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3")] for name in TABLES}
    db.execute("ROLLBACK")
    return found


class Witness:
    """Looks at the file after every commit: rows fit together at each instant, and nothing that was there changes."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self._version = -1
        self._messages: dict[tuple[int, int], str] = {}
        self._epochs: dict[int, int] = {}
        self._ends: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.problems: list[str] = []
        self.commits = 0

    def __call__(self) -> None:
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        self._version = version
        self.commits += 1
        for name in CLOSE_WATCH:
            for broken in self._db.execute(statements("sqlite")[f"invariant_{name}"]):
                self.problems.append(f"after commit {self.commits}: {name}: {tuple(broken)}")
        for session, seq, body in self._db.execute("SELECT session, seq, body FROM messages"):
            if self._messages.setdefault((session, seq), body) != body:
                self.problems.append(f"message {seq} of session {session} became another")
        for key, epoch in self._db.execute("SELECT key, epoch FROM sessions"):
            if epoch < self._epochs.get(key, 0):
                self.problems.append(f"the epoch of session {key} went back from {self._epochs[key]} to {epoch}")
            self._epochs[key] = epoch

    def close(self) -> None:
        self._db.close()


def quiet(play: Play) -> Iterator[str]:
    """True once every caller has heard: nothing runs on behind their backs, nothing is kept for them."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        yield f"tasks are left: {sorted(task.get_name() for task in left)}"
    for number, loop in enumerate(play.loops):
        conductor = None if loop._opening is None else loop._opening.result()
        if conductor is None:
            continue
        if len(conductor._gates):
            yield f"loop {number} keeps {len(conductor._gates)} gates"
        if conductor.runner._running or conductor.runner._watch._turns or conductor.runner._watch._task:
            yield f"loop {number} watches turns that ended"
    for number, store in enumerate(play.stores):
        if store._driving:  # type: ignore[attr-defined]
            yield f"store {number} believes that turns of it run"


def answered(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Every caller got what it was promised: a result, or an error that is meant for it."""
    meant: list[type[Exception]] = [*REFUSALS, *LOSSES]
    left = any(it.what in ("leave", "die") for it in attempts)
    if not left:
        meant.remove(LoopClosedError)
    if not any(it.how.get("force") or it.what == "die" for it in attempts):
        meant.remove(EpochLostError)  # nobody is robbed but by force, or after death
    for it in attempts:
        errors = [it.error, *(entry.error for entry in (it.result if it.what == "recover" and it.result else ()))]
        for error in errors:
            if error is not None and not isinstance(error, (*meant, asyncio.CancelledError)):
                yield f"{it}: {error!r} is not meant for it"


def recovered(play: Play) -> Iterator[str]:
    """Of several who recover after one death, one takes up each session."""
    taken = Counter(
        entry.session_id
        for it in play.attempts
        if it.what == "recover" and it.result
        for entry in it.result
        if entry.action != "inputs" and (entry.error is None or isinstance(entry.error, ModelError))
    )
    if play.mortal:
        yield from (f"{session} was taken up {times} times" for session, times in taken.items() if times > 1)


def inputs(play: Play, rows: Rows) -> Iterator[str]:
    """Every input is stored once, or was refused and is not stored; what was acknowledged is there."""
    gone = {it.session for it in play.attempts if it.what == "delete"}
    ids = {row["key"]: row["id"] for row in rows["sessions"]}
    stored = Counter(
        (ids[row["session"]], json.loads(row["body"])["content"])
        for row in rows["messages"]
        if row["role"] == "user" and row["note_of"] is None
    )
    turns = {(ids[row["session"]], row["number"]): row for row in rows["turns"]}
    crowd = Counter(
        (ids[row["session"]], turns[ids[row["session"]], row["turn"]]["origin"])
        for row in rows["messages"]
        if row["role"] == "user" and row["note_of"] is None
    )
    bodies = {(ids[row["session"]], row["seq"]): json.loads(row["body"])["content"] for row in rows["messages"]}
    yield from (f"input {text} is stored {times} times" for (_, text), times in stored.items() if times > 1)
    for it in play.attempts:
        if it.what not in INPUTS or it.session in gone:
            continue
        there = stored[it.session, it.text or ""]
        mine = not any(other is not it and other.text == it.text for other in play.attempts)
        if isinstance(it.error, REFUSALS) and mine and there:
            yield f"{it}, and its input is stored"
        if it.result is None:
            continue
        turn = turns.get((it.session, it.result.turn))
        if turn is None:
            yield f"{it}: its turn is not stored"
        elif crowd[it.session, turn["origin"]] > 1:
            continue  # others steered the same turn: one answer for all
        elif it.result.status in ANSWERED:
            if not there or bodies.get((it.session, turn["answer_seq"])) != f"re {it.text}":
                yield f"{it}: its answer is not stored, turn {turn}"
            if it.result.final_text != f"re {it.text}":
                yield f"{it} was answered with {it.result.final_text}"


def shown(play: Play, rows: Rows) -> Iterator[str]:
    """What a model was shown are all inputs up to the one it is to answer, as they are stored."""
    if play.config.context_window < 1000:
        return  # some were folded
    gone = {it.session for it in play.attempts if it.what == "delete"}
    for session in rows["sessions"]:
        stored = [
            json.loads(row["body"])["content"]
            for row in rows["messages"]
            if (row["session"], row["role"]) == (session["key"], "user")
        ]
        for who, inputs in play.account.shown:
            if who == session["id"] and who not in gone and inputs != stored[: len(inputs)]:
                yield f"{who}: a model was shown {inputs}, stored are {stored}"


def histories(rows: Rows) -> Iterator[str]:
    """Turns stand one after the other, and what the model sees lacks nothing but the results of open calls."""
    for session in rows["sessions"]:
        mine = {name: [row for row in rows[name] if row.get("session") == session["key"]] for name in TABLES}
        who = session["id"]
        spoken = [row["turn"] for row in sorted(mine["messages"], key=lambda row: row["seq"]) if row["role"] != "tool"]
        if spoken != sorted(spoken):
            yield f"{who}: turns interleave: {spoken}"
        epochs = [row["epoch"] for row in sorted(mine["turns"], key=lambda row: row["number"])]
        if epochs != sorted(set(epochs)):
            yield f"{who}: epochs of turns are {epochs}"
        calls = {(row["seq"], row["ordinal"]): row for row in mine["calls"]}
        for (seq, ordinal), call in calls.items():
            if call["result_seq"] not in (None, seq + 1 + ordinal):
                yield f"{who}: the result of call {call['id']} of message {seq} is at {call['result_seq']}"
        active = sorted((row for row in mine["messages"] if row["state"] == "active"), key=lambda row: row["place"])
        lacking = sum(row["result_seq"] is None for row in mine["calls"])
        for name, messages in (("active", active), ("whole", [m for m in mine["messages"] if m["note_of"] is None])):
            wrong = violations(
                parse(row["body"]) for row in sorted(messages, key=lambda row: (row["place"], row["seq"]))
            )
            if len(wrong) != lacking or any("has no result" not in problem for problem in wrong):
                yield f"{who}: its {name} history is {wrong}, {lacking} calls are open"
        answers = sum(row["role"] == "assistant" for row in mine["messages"])
        if [row["purpose"] for row in mine["usage"]].count("answer") != answers:
            yield f"{who}: {answers} answers, usage {[row['purpose'] for row in mine['usage']]}"


def effects(account: Account, rows: Rows, *, forced: bool, died: bool) -> Iterator[str]:
    """Nothing unsafe ran twice; nobody ran what the ledger does not know; two never drove one session."""
    yield from account.problems
    for key, times in account.entered.items():
        if account.names[key] in ("pay", "fail") and times > 1:
            yield f"once call {key} was entered {times} times"
    born = {f"{row['id']}@{row['created_at']:x}": row["key"] for row in rows["sessions"]}
    known = {(row["session"], row["seq"], row["ordinal"]): row for row in rows["calls"]}
    for key, times in account.entered.items():
        head, _, tail = key.rpartition("/")
        if head not in born:
            continue  # its session was deleted
        seq, _, ordinal = tail.partition(".")
        call = known.get((born[head], int(seq), int(ordinal)))
        if call is None or call["attempt"] < times:
            yield f"{account.names[key]} was entered {times} times under {key}; the ledger has {call}"
    if not forced and not died:
        yield from (f"{most} drove {session} at once" for session, most in account.at_once.items() if most > 1)


async def liveness(play: Play, judge: StatefulAgentLoop) -> Iterator[str]:
    """With nobody else about, every session is freed and answers."""
    found: list[str] = []
    way = play.chance.choice(("resume", "abort", "recover"))
    if way == "recover":
        errors = [entry.error for entry in await judge.recover("resume")]
        found += [f"recover failed: {error!r}" for error in errors if error and not isinstance(error, ModelError)]
        again = await judge.recover("resume")
        # What waits behind an input that the model failed over is taken up again, nothing else.
        if [entry for entry in again if entry.action != "inputs"] or (again and not any(errors)):
            found.append(f"a second recover found {again}")
    for info in await judge.list_sessions(archived=True):
        session = info.session_id
        if info.closed:
            continue
        if info.archived:
            await judge.archive_session(session, archived=False)
        if way == "resume":
            await _patiently(lambda session=session: judge.resume(session, in_doubt="report"))
        else:
            await judge.abort_pending(session)
        text = f"{session} at the end"
        result = await _patiently(lambda session=session, text=text: judge.send(text, session, request_id="end"))
        if result is None or result.status not in ANSWERED or result.final_text != f"re {text}":
            found.append(f"{session} does not answer: {result}")
        if await judge.get_pending(session):
            found.append(f"{session} has open calls at the end")
    return iter(found)


async def _patiently(ask: Any) -> Any:
    """Models fail sometimes; whoever asks again is answered."""
    for _ in range(10):
        try:
            return await ask()
        except ModelError:
            continue
    return None


def free(path: Path) -> Iterator[str]:
    """Nobody has left a transaction, a lock or an owner behind."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            yield f"the write lock is held: {error}"
        for (problem,) in db.execute("PRAGMA integrity_check"):
            if problem != "ok":
                yield problem
    owners = path.with_name(path.name + ".owners")
    if owners.exists():
        yield f"owners are left: {[file.name for file in owners.iterdir()]}"
