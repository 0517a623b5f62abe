"""What must be true of what a process left behind, whatever the instant and manner of its end. Pure functions.

`lost`: something acknowledged, or something that had effects outside, is not in the file. `broken`: what is in the file
does not fit together. A store with `synchronous=NORMAL` may lose; none may ever be broken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from llm_client.messages import parse
from power_loop.transcript.rules import violations
from tests.power.scenario import EFFECTS, NOTE, Scenario, heard

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = dict[str, list[Row]]


class Problem(NamedTuple):
    kind: Literal["lost", "broken"]
    words: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`rows` is None where there is no database file; `unsound` what SQLite itself has against it."""

    rows: Rows | None
    unsound: list[str] = field(default_factory=list)
    ledger: list[Row]
    acknowledged: list[Row]

    def starts(self) -> Counter[str]:
        """How often each call's function was entered, by idempotency key."""
        return Counter(line["key"] for line in self.ledger if line["event"] == "start")


@dataclass(frozen=True)
class Session:
    """The rows of one session."""

    row: Row
    turns: list[Row]
    messages: list[Row]
    calls: list[Row]
    usage: list[Row]
    compactions: list[Row]

    @property
    def open_calls(self) -> list[Row]:
        return [call for call in self.calls if call["result_seq"] is None]

    @property
    def active(self) -> list[Row]:
        rows = [row for row in self.messages if row["state"] == "active"]
        return sorted(rows, key=lambda row: (row["place"], row["seq"]))

    def key_of(self, call: Row) -> str:
        """The idempotency key, put together here from what the file says."""
        return f"{self.row['id']}@{self.row['created_at']:x}/{call['seq']}.{call['ordinal']}"


def sessions(found: Evidence, of: Scenario) -> dict[str, Session]:
    """The sessions of a scenario, those that are there."""
    rows = found.rows or {}
    parts = ("turns", "messages", "calls", "usage", "compactions")
    return {
        row["id"]: Session(row, *([r for r in rows[part] if r["session"] == row["key"]] for part in parts))
        for row in rows.get("sessions", ())
        if row["id"] in of.inputs
    }


def always(found: Evidence, of: Scenario) -> Iterator[Problem]:
    """True at every instant."""
    yield from (Problem("broken", words) for words in found.unsound)
    there = sessions(found, of)
    yield from (Problem("lost", words) for words in _understood(_acknowledged(found, there)))
    yield from (Problem("lost", words) for words in _understood(_effects(found, there)))
    for session in there.values():
        for check in (_turns, _messages, _calls, _usage, _compactions, _history):
            yield from (Problem("broken", f"{session.row['id']}: {words}") for words in _understood(check(session, of)))


def _understood(said: Iterator[str]) -> Iterator[str]:
    """What a check says; rows that make no sense at all are damage too."""
    try:
        yield from said
    except (ValueError, KeyError, TypeError, IndexError) as error:
        yield f"its rows make no sense: {error!r}"


def rested(found: Evidence, of: Scenario, *, complete: bool) -> Iterator[Problem]:
    """True once a fresh process freed every session and sent one more input; `complete`: and all those before it."""
    there = sessions(found, of)
    for name in of.inputs:
        if name not in there:
            yield Problem("broken", f"{name}: there is no session")
            continue
        session = there[name]
        whole = [row for row in session.messages if row["note_of"] is None]
        for rows in (session.active, whole):
            yield from (Problem("broken", f"{name}: {words}") for words in violations(_parsed(rows)))
        if session.open_calls or session.row["owner"] is not None or session.turns[-1]["state"] != "done":
            yield Problem("broken", f"{name}: the session does not rest: {session.turns[-1]}")
        answered = {row["request_id"] for row in session.turns}
        missing = [step for step, _ in of.requests(name) if complete and step not in answered]
        if missing:
            yield Problem("lost", f"{name}: the inputs {missing} are not stored")


def _acknowledged(found: Evidence, there: dict[str, Session]) -> Iterator[str]:
    for said in found.acknowledged:
        session = there.get(said["session"])
        if session is None:
            yield f"session {said['session']} of {said['step']} is gone"
        elif said["step"] != "create":
            turn = next((row for row in session.turns if row["number"] == said["turn"]), None)
            if turn is None or turn["status"] != said["status"] or turn["answer_seq"] is None:
                yield f"the outcome of {said['step']} is not stored: {turn}"
                continue
            body = next((row["body"] for row in session.messages if row["seq"] == turn["answer_seq"]), "{}")
            if json.loads(body).get("content") != said["text"] or turn["rounds"] < said["rounds"]:
                yield f"the answer of {said['step']} is not the stored one"
            if not any(row["request_id"] == said["step"] for row in session.turns):
                yield f"the input {said['step']} is not stored"


def _effects(found: Evidence, there: dict[str, Session]) -> Iterator[str]:
    """Intent before effect: a function that was entered is known as started. A `once` call is entered at most once."""
    calls = {session.key_of(call): call for session in there.values() for call in session.calls}
    for line in found.ledger:
        call = calls.get(line["key"])
        if call is None or call["attempt"] < line["attempt"] or call["name"] != line["tool"]:
            yield f"{line['tool']} was entered, and its call is {call}"
    for key, times in found.starts().items():
        if times > 1 and key in calls and calls[key]["effect"] == "once":
            yield f"the once call {key} was entered {times} times"


def _turns(session: Session, of: Scenario) -> Iterator[str]:
    live = [row for row in session.turns if row["ended_at"] is None]
    if len(live) > 1 or bool(live) != (session.row["owner"] is not None):
        yield f"{len(live)} turns are live, the owner is {session.row['owner']}"
    if [row["number"] for row in session.turns] != list(range(1, session.row["next_turn"])):
        yield "turn numbers have gaps"
    if session.open_calls and session.turns[-1]["state"] not in ("acting", "interrupted", "failed"):
        yield f"calls are open in a turn that is {session.turns[-1]['state']}"
    inputs = {row["turn"] for row in session.messages if row["role"] == "user" and row["note_of"] is None}
    if inputs != {row["number"] for row in session.turns if row["origin"] == row["number"]}:
        yield f"inputs {inputs} and turns do not belong together"
    answers = {row["seq"]: json.loads(row["body"]) for row in session.messages if row["role"] == "assistant"}
    for row in session.turns:
        if row["state"] == "done" and "tool_calls" in answers.get(row["answer_seq"], {"tool_calls": 1}):
            yield f"turn {row['number']} is done without a last word"


def _messages(session: Session, of: Scenario) -> Iterator[str]:
    name = session.row["id"]
    texts = [(row["turn"], json.loads(row["body"])["content"]) for row in session.messages
             if row["role"] == "user" and row["note_of"] is None]  # fmt: skip
    known = {row["number"]: row["request_id"] for row in session.turns}
    wanted = dict(of.requests(name))
    for turn, text in texts:
        step = known.get(turn)
        if step is not None and wanted.get(step) != text:
            yield f"the input {step} is not what was sent"
    if len({known.get(turn) for turn, _ in texts}) != len(texts):
        yield "an input is stored twice"
    if session.row["active"] != len(session.active):
        yield f"{session.row['active']} messages should be active, {len(session.active)} are"
    if len(session.messages) + len(session.open_calls) != session.row["next_seq"] - 1:
        yield "sequence numbers have gaps"


def _calls(session: Session, of: Scenario) -> Iterator[str]:
    asked = [
        (row["seq"], ordinal, call["id"], call["function"]["name"], call["function"]["arguments"])
        for row in session.messages
        for ordinal, call in enumerate(json.loads(row["body"]).get("tool_calls") or ())
    ]
    if asked != [(c["seq"], c["ordinal"], c["id"], c["name"], c["arguments"]) for c in session.calls]:
        yield "the ledger and the answers do not name the same calls"
    messages = {row["seq"]: json.loads(row["body"]) for row in session.messages}
    for call in session.calls:
        if call["effect"] != EFFECTS[call["name"]]:
            yield f"{call['name']} is recorded as {call['effect']}"
        if call["result_seq"] is None:
            continue
        result = messages.get(call["result_seq"], {})
        if result.get("tool_call_id") != call["id"]:
            yield f"the result of {session.key_of(call)} is {result}"
        elif call["state"] == "succeeded" and session.key_of(call) not in result["content"]:
            yield f"{session.key_of(call)} succeeded without its result"


def _usage(session: Session, of: Scenario) -> Iterator[str]:
    purposes = Counter(row["purpose"] for row in session.usage)
    answers = sum(row["role"] == "assistant" for row in session.messages)
    if purposes["answer"] != answers or purposes["summary"] < len(session.compactions):
        yield f"usage rows {purposes} for {answers} answers and {len(session.compactions)} compactions"
    if [row["number"] for row in session.usage] != list(range(1, session.row["usage_rows"] + 1)):
        yield "usage rows have gaps"


def _compactions(session: Session, of: Scenario) -> Iterator[str]:
    numbers = {row["number"] for row in session.compactions}
    named = {row[column] for row in session.messages for column in ("folded_by", "note_of")} - {None}
    if named - numbers:
        yield f"compactions {named - numbers} are half there"
    for row in session.compactions:
        folded = sum(message["folded_by"] == row["number"] for message in session.messages)
        notes = [message["body"] for message in session.messages if message["note_of"] == row["number"]]
        if folded != row["folded"] or len(notes) != 1 or NOTE not in notes[0]:
            yield f"compaction {row['number']} folded {folded} of {row['folded']} messages under {notes}"


def _history(session: Session, of: Scenario) -> Iterator[str]:
    """Valid for the provider, in every prefix, but for the calls that are open or have their answers further on."""
    words = _words(session)
    for row in session.messages:
        body = json.loads(row["body"])
        if row["role"] == "assistant" and "tool_calls" not in body and body["content"] not in words:
            yield f"message {row['seq']} is an answer that nobody gave"
    open_ids = {call["id"] for call in session.open_calls}
    whole = _parsed([row for row in session.messages if row["note_of"] is None])
    for history in (_parsed(session.active), whole):
        wrong = violations(history)
        said = [why for why in wrong if not (why.endswith("has no result") and why.split()[1] in open_ids)]
        yield from (f"history: {why}" for why in said)
        if len(wrong) != len(open_ids):
            yield f"{len(open_ids)} calls are open, the history lacks {len(wrong)} results"
    for length in range(len(whole)):
        for why in violations(whole[:length]):
            if not why.endswith("has no result"):
                yield f"the first {length} messages: {why}"


def _words(session: Session) -> set[str]:
    texts = (json.loads(row["body"])["content"] for row in session.messages if row["role"] == "user")
    return {heard(text) for text in texts}


def _parsed(rows: list[Row]) -> list[Any]:
    return [parse(row["body"], row["provider"]) for row in rows]
