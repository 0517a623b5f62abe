"""What must be true of the evidence at every instant, whatever the app does. Each function gives problems in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from llm_client.messages import AssistantMessage, text_of
from power_loop.testing.crash.evidence import Evidence, Row, SessionRows, notes_of_rules, place_of
from power_loop.testing.crash.happened import happened
from power_loop.testing.crash.place import Line
from power_loop.testing.crash.runs import runs
from power_loop.transcript.rules import violations


def always(found: Evidence) -> Iterator[str]:
    """True at every instant, also between a kill and its recovery."""
    yield from found.broken
    yield from _acknowledged(found)
    yield from _inputs(found)
    yield from runs(found)
    for session in found.sessions:
        for problem in (
            *_history(session),
            *_ledger(session),
            *_turns(session),
            *_compactions(session),
            *_usage(session),
            *happened(session),
        ):
            yield f"session {session.id}: {problem}"
    yield from _model(found)


def _acknowledged(found: Evidence) -> Iterator[str]:
    """Everything a client was told is on disk, as it was told."""
    by_id = {session.id: session for session in found.sessions}
    for said in found.acknowledged:
        session = by_id.get(said["at"] if said["request"] is not None else said["session"])
        if session is None:
            yield f"the acknowledged session {said.get('at', said['session'])} is gone"
            continue
        if said["request"] is None:
            continue
        what = f"session {session.id}: the acknowledged"
        if _requests(session)[said["request"]] != 1 and not (said["steered"] and _message_of(found, session, said)):
            yield f"{what} input {said['request']} is stored {_requests(session)[said['request']]} times"
        turn = next((row for row in session.table("turns") if row["number"] == said["turn"]), None)
        if turn is None or not (turn["status"] == said["status"] or _given_up(turn, said)):
            yield f"{what} outcome {said['status']} of {said['request']} is not stored: {turn}"
        elif said["text"] != _answer(session, turn["answer_seq"]):
            yield f"{what} answer of {said['request']} is not the stored one, {_answer(session, turn['answer_seq'])!r}"


def _message_of(found: Evidence, session: SessionRows, said: Line) -> bool:
    """Whether an input taken in by a running turn, which has no turn of its own, is stored."""
    sent = [json.loads(line["input"]) for line in found.begun if line["request"] == said["request"]]
    return any(row["role"] == "user" and json.loads(row["body"]) in sent for row in session.table("messages"))


def _given_up(turn: Row, said: Line) -> bool:
    """Whether an outcome that left calls open was changed by giving those up, as `abort_pending` does."""
    left_open = ("stopped", "pending_tools", "awaiting_approval", "waiting_for_input", "cancelled")
    return said["status"] in left_open and turn["status"] == "cancelled"


def _inputs(found: Evidence) -> Iterator[str]:
    """No input twice, none that nobody sent, none half: a stored request has its message."""
    bodies: dict[tuple[str | None, str], Any] = {}
    for line in found.begun:
        bodies[line["session"], line["request"]] = json.loads(line["input"])
    homes: Counter[str] = Counter()
    for session in found.sessions:
        stored = [
            json.dumps(json.loads(row["body"]), sort_keys=True)
            for row in session.table("messages")
            if row["role"] == "user" and row["note_of"] is None and row["seq"] not in notes_of_rules(session)
        ]
        sent: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for request, count in _requests(session).items():
            body = bodies.get((session.id, request), bodies.get((None, request)))
            homes[request] += (None, request) in bodies and (session.id, request) not in bodies
            if body is None:
                yield f"session {session.id}: the input {request} is stored, and nobody sent it through client.send"
                continue
            sent[json.dumps(body, sort_keys=True)] += count
        for line in found.begun:  # an input may be stored without a turn of its own
            if line["session"] == session.id and line["request"] not in _requests(session):
                waiting[json.dumps(json.loads(line["input"]), sort_keys=True)] = 1
        for body, count in Counter(stored).items():
            if not sent[body] <= count <= sent[body] + waiting[body]:
                yield f"session {session.id}: the input {body} is stored {count} times, sent {sent[body]} times"
        yield from (f"session {session.id}: the input {body} has no message" for body in sent if body not in stored)
    yield from (f"the input {request} made {count} sessions" for request, count in homes.items() if count > 1)


def _history(session: SessionRows) -> Iterator[str]:
    """Every prefix of what was ever said, and every view a compaction left, is what a provider takes."""
    rows = session.table("messages")
    if session.row["active"] != len(session.active):
        yield f"{session.row['active']} messages should be active, {len(session.active)} are"
    if rows and session.row["next_seq"] <= max(row["seq"] for row in rows):
        yield "the next sequence number is taken"
    whole = [row for row in rows if row["note_of"] is None]
    last = max((row["seq"] for row in whole if row["role"] == "assistant"), default=0)
    for name, view in (("active", session.active), ("whole", whole)):
        yield from _valid(session, f"{name} history", view, waits=True)
    for end, row in enumerate(whole):
        if row["role"] != "tool":  # within a round its results are still awaited
            yield from _valid(session, f"history before message {row['seq']}", whole[:end])
    for row in (row for row in session.table("compactions") if row["undone_at"] is None):
        yield from _valid(session, f"history after compaction {row['number']}", _seen_after(session, row), waits=True)
    open_elsewhere = {call["seq"] for call in session.open_calls} - {last}
    yield from (f"calls of message {seq} are open, and the history went on" for seq in open_elsewhere)


def _seen_after(session: SessionRows, compaction: Row) -> list[Row]:
    number = compaction["number"]
    seen = [
        row
        for row in session.table("messages")
        if row["seq"] < compaction["note_seq"] + compaction["notes"]
        and (row["folded_by"] is None or row["folded_by"] > number)
        and (row["note_of"] is None or row["note_of"] <= number)
    ]
    return sorted(seen, key=place_of)


def _valid(session: SessionRows, name: str, rows: Iterable[Row], *, waits: bool = False) -> Iterator[str]:
    """What a provider would refuse; with `waits`, but for results that open calls still wait for."""
    unanswered = {call["id"] for call in session.open_calls} if waits else set()
    for problem in violations(session.messages[row["seq"]] for row in rows):
        if not any(problem.startswith(f"call {id} of ") and problem.endswith("no result") for id in unanswered):
            yield f"{name}: {problem}"


def _ledger(session: SessionRows) -> Iterator[str]:
    """Answers and ledger name the same calls; a settled one has one result, which is the one given."""
    asked = [
        (seq, ordinal, call.id, call.name, call.arguments)
        for seq, message in session.messages.items()
        if isinstance(message, AssistantMessage)
        for ordinal, call in enumerate(message.tool_calls)
    ]
    calls = session.table("calls")
    if asked != [(c["seq"], c["ordinal"], c["id"], c["name"], c["arguments"]) for c in calls]:
        yield "the ledger and the answers do not name the same calls"
    results = [call["result_seq"] for call in calls if call["result_seq"] is not None]
    tools = [row["seq"] for row in session.table("messages") if row["role"] == "tool" and row["note_of"] is None]
    if sorted(results) != tools:
        yield f"the results of calls are the messages {sorted(results)}, results are {tools}"
    for call in calls:
        if call["result_seq"] is not None:
            result = session.messages.get(call["result_seq"])
            if getattr(result, "tool_call_id", None) != call["id"]:
                yield f"the result of call {call['id']} of {call['name']} is {result}"


def _turns(session: SessionRows) -> Iterator[str]:
    row, turns = session.row, session.table("turns")
    live = [turn for turn in turns if turn["ended_at"] is None]
    if len(live) > 1 or bool(live) != (row["owner"] is not None):
        yield f"{len(live)} turns are live, the owner is {row['owner']}"
    if [turn["number"] for turn in turns] != list(range(1, row["next_turn"])):
        yield "turn numbers have gaps"
    epochs = [turn["epoch"] for turn in turns]
    if epochs != sorted(set(epochs)) or (epochs and epochs[-1] > row["epoch"]):
        yield f"turns have the epochs {epochs}, the session {row['epoch']}"
    if session.open_calls and turns[-1]["state"] in ("asking", "done"):
        yield f"calls are open in a turn that is {turns[-1]['state']}"
    for turn in turns:
        if turn["answer_seq"] is not None and _answer(session, turn["answer_seq"]) is None:
            yield f"turn {turn['number']} was answered, and its answer is gone"


def _compactions(session: SessionRows) -> Iterator[str]:
    messages, rows = session.table("messages"), session.table("compactions")
    for number in {row["folded_by"] for row in messages} | {row["note_of"] for row in messages}:
        if number is not None and number not in {row["number"] for row in rows}:
            yield f"compaction {number} is half there"
    for row in rows:
        folded = [m["seq"] for m in messages if m["folded_by"] == row["number"]]
        notes = [m["seq"] for m in messages if m["note_of"] == row["number"]]
        if row["undone_at"] is not None and folded != notes:
            yield f"compaction {row['number']} was undone, and has folded {folded}; its notes are {notes}"
        if row["undone_at"] is None and len(folded) != row["folded"]:
            yield f"compaction {row['number']} folded {len(folded)} of {row['folded']} messages"
        if notes != list(range(row["note_seq"], row["note_seq"] + row["notes"])):
            yield f"compaction {row['number']} has the notes {notes}"


def _usage(session: SessionRows) -> Iterator[str]:
    """A row for every answer that was recorded. An answer whose process died before that was paid for and is lost."""
    purposes = Counter(row["purpose"] for row in session.table("usage"))
    answers = sum(row["role"] == "assistant" for row in session.table("messages"))
    notes = sum(row["model"] is not None for row in session.table("compactions"))
    if purposes["answer"] != answers or purposes["summary"] < notes:
        yield f"there are usage rows for {dict(purposes)}, and {answers} answers, {notes} notes"
    if [row["number"] for row in session.table("usage")] != list(range(1, session.row["usage_rows"] + 1)):
        yield "usage rows are missing"


def _model(found: Evidence) -> Iterator[str]:
    """No request broke the provider's rules, and none was answered that is counted twice."""
    for line in found.asked:
        if line.get("refusal") is not None:
            yield f"a provider would refuse a request: {line['refusal']}"
        if line.get("code") in ("model.request", "model.script_ended"):
            yield f"the model refused a request: {line['error']}"
    answered = sum(line["event"] == "answered" for line in found.asked)
    paid = sum(row["purpose"] != "overflow" for row in found.table("usage"))
    if paid > answered:
        yield f"there are {paid} usage rows and {answered} answers of the model"


def _requests(session: SessionRows) -> Counter[str]:
    return Counter(row["request_id"] for row in session.table("turns") if row["request_id"] is not None)


def _answer(session: SessionRows, seq: int | None) -> str | None:
    """The text of an answer as `send` gives it; empty for a turn without one, None if it is not there.

    Of a turn that a call has ended, with nothing said beside it, that is the result of the call.
    """
    if seq is None:
        return ""
    message = session.messages.get(seq)
    if not isinstance(message, AssistantMessage):
        return None
    said = text_of(message.content) or message.refusal or ""
    if said or not message.tool_calls:
        return said
    ended = (call for call in session.table("calls") if call["seq"] == seq and call["state"] == "succeeded")
    result = session.messages.get(max((call["result_seq"] for call in ended), default=0))
    return None if result is None else text_of(result.content)
