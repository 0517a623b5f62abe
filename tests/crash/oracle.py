"""What must be true of the evidence, whatever the instant of death. Each function gives problems in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from llm_client.messages import parse
from power_loop.transcript.rules import violations
from tests.crash.evidence import Evidence, Row, key_of
from tests.crash.scenario import AFTER, EFFECTS, NOTE, STEPS, result_of

INPUTS = {**STEPS, "after": AFTER}


def always(found: Evidence, requests: Sequence[Row]) -> Iterator[str]:
    """True at every instant, also between a kill and its recovery."""
    yield from found.broken
    yield from _acknowledged(found)
    if found.session is None:
        if found.ledger:
            yield "a tool ran without a session"
        return
    yield from _messages(found)
    yield from _calls(found)
    yield from _turns(found)
    yield from _compactions(found)
    yield from _usage(found, requests)
    yield from (f"the server refused: {line['refusal']}" for line in requests if line["status"] != 200)


def kept(before: Evidence, after: Evidence) -> Iterator[str]:
    """A recovery adds; what was there stays as it was."""
    if before.rows is None:
        return
    for table, key, changing in (
        ("messages", ("seq",), ("state", "folded_by")),
        ("usage", ("number",), ()),
        ("compactions", ("number",), ()),
        ("schema_migrations", ("version",), ()),
    ):
        now = {tuple(row[k] for k in key): row for row in after.table(table)}
        for row in before.table(table):
            still = now.get(tuple(row[k] for k in key))
            if still is None or any(still[k] != v for k, v in row.items() if k not in changing):
                yield f"{table} row {row} became {still}"
    if before.session and after.session and before.session["epoch"] > after.session["epoch"]:
        yield "the epoch went back"
    calls = {(call["seq"], call["ordinal"]): call for call in after.table("calls")}
    for call in before.table("calls"):
        still = calls.get((call["seq"], call["ordinal"]))
        if still is None or (call["result_seq"] is not None and still != call):
            yield f"call {call} became {still}"
    folded = {row["seq"] for row in after.table("messages") if row["state"] == "compacted_out"}
    for row in before.table("messages"):
        if row["state"] == "compacted_out" and row["seq"] not in folded:
            yield f"message {row['seq']} came back"


def effects(before: Evidence, after: Evidence, *, runs: bool) -> Iterator[str]:
    """What became of the calls that a death left behind: `runs` says whether the recovery resumes or gives them up."""
    earlier, later = before.starts(), after.starts()
    calls = {key_of(call, after.session): call for call in after.table("calls")}
    for call in before.table("calls"):
        key = key_of(call, after.session)
        more = later[key] - earlier[key]
        now = calls[key]
        if call["result_seq"] is not None or not runs:
            allowed = range(1)
        elif call["state"] == "started":
            allowed = range(1) if call["effect"] == "once" else range(1, 2)
        else:
            allowed = range(1, 2)
        if more not in allowed:
            yield f"{call['state']} call {key} of {call['name']} was started {more} times by the recovery"
        if call["result_seq"] is None:
            expected = "succeeded" if runs else "aborted"
            if runs and call["state"] == "started" and call["effect"] == "once":
                expected = "reported"
            if now["state"] != expected:
                yield f"{call['state']} call {key} of {call['name']} became {now['state']}, not {expected}"


def rested(found: Evidence, witness: Row, requests: Sequence[Row], *, complete: bool) -> Iterator[str]:
    """True when all is over and the next input was answered."""
    yield from (f"call {call['id']} is open" for call in found.open_calls)
    active = [json.loads(row["body"]) for row in _active(found)]
    everything = [row for row in found.table("messages") if row["note_of"] is None]
    for name, rows in (("active", _active(found)), ("whole", everything)):
        yield from (f"{name} history: {wrong}" for wrong in violations(parse(row["body"]) for row in rows))
    asked = [line["body"] for line in requests if line["body"].get("tools")]
    if not asked or asked[-1]["messages"] != active[:-1]:
        yield "the active view is not what the model was sent last"
    if not active or active[-1]["content"] != f"Heard: {AFTER}":
        yield f"the last message is {active[-1:]}"
    if found.session is None or found.session["owner"] is not None or witness["state"] != "idle":
        yield f"the session is {witness['state']} at the end"
    shown = [(m["seq"], m["body"], m["state"]) for m in witness["all"]]
    stored = [(m["seq"], m["body"], m["state"]) for m in sorted(found.table("messages"), key=_place)]
    if shown != stored:
        yield "get_messages(include_compacted=True) does not show what is stored"
    if [json.loads(m["body"]) for m in witness["active"]] != active:
        yield "get_messages() does not show the active messages"
    if witness["usage"] != len(found.table("usage")):
        yield "get_usage() does not show every row"
    expected = set(INPUTS) if complete else {"after"}
    missing = expected - {row["request_id"] for row in found.table("turns")}
    if missing:
        yield f"inputs {missing} are not stored"
    if complete and {call["name"] for call in found.table("calls")} != set(EFFECTS):
        yield "the work was not done"


def _acknowledged(found: Evidence) -> Iterator[str]:
    turns = {row["number"]: row for row in found.table("turns")}
    bodies = {row["seq"]: json.loads(row["body"]) for row in found.table("messages")}
    for step, said in found.acknowledged.items():
        if step == "create":
            if found.session is None:
                yield "the acknowledged session is gone"
            continue
        turn = turns.get(said["turn"])
        if turn is None or turn["status"] != said["status"]:
            yield f"the acknowledged outcome of {step} is not stored: {turn}"
        elif bodies[turn["answer_seq"]]["content"] != said["text"]:
            yield f"the acknowledged answer of {step} is not the stored one"
        if not any(row["request_id"] == step for row in turns.values()):
            yield f"the acknowledged input {step} is not stored"


def _messages(found: Evidence) -> Iterator[str]:
    rows = found.table("messages")
    texts = [json.loads(row["body"])["content"] for row in rows if row["role"] == "user" and row["note_of"] is None]
    requests = {row["request_id"] for row in found.table("turns")}
    for step, text in INPUTS.items():
        if texts.count(text) != (step in requests):
            yield f"the input {step} is stored {texts.count(text)} times"
    if len(texts) != len(set(texts) & set(INPUTS.values())):
        yield f"there are inputs that nobody sent: {texts}"
    session = found.session
    assert session is not None
    if session["active"] != len(_active(found)):
        yield f"{session['active']} messages should be active, {len(_active(found))} are"
    if rows and session["next_seq"] <= max(row["seq"] for row in rows):
        yield "the next sequence number is taken"
    wrong = violations(parse(row["body"]) for row in _active(found))
    open_ids = {call["id"] for call in found.open_calls}
    for problem in wrong:
        if not any(problem.startswith(f"call {id} of message") and problem.endswith("no result") for id in open_ids):
            yield f"history: {problem}"
    if len(wrong) != len(open_ids):
        yield f"{len(open_ids)} calls are open, the history lacks {len(wrong)} results"


def _calls(found: Evidence) -> Iterator[str]:
    messages = {row["seq"]: json.loads(row["body"]) for row in found.table("messages")}
    asked = [
        (seq, ordinal, call["id"], call["function"]["name"], call["function"]["arguments"])
        for seq, message in messages.items()
        for ordinal, call in enumerate(message.get("tool_calls") or ())
    ]
    calls = found.table("calls")
    if asked != [(c["seq"], c["ordinal"], c["id"], c["name"], c["arguments"]) for c in calls]:
        yield "the ledger and the answers do not name the same calls"
    by_key = {key_of(call, found.session): call for call in calls}
    starts = found.starts()
    ends = {line["key"] for line in found.ledger if line["event"] == "end"}
    for line in found.ledger:
        call = by_key.get(line["key"])
        if call is None or call["state"] == "requested":
            yield f"{line['tool']} was entered before its call was started: {line}"
        elif (call["id"], call["name"]) != (line["call"], line["tool"]) or line["what"] not in call["arguments"]:
            yield f"{line} is not of the call {call['id']} of {call['name']}"
        elif line["attempt"] > call["attempt"]:
            yield f"attempt {line['attempt']} of {line['key']} is not recorded"
    for key, call in by_key.items():
        attempts = [line["attempt"] for line in found.ledger if line["event"] == "start" and line["key"] == key]
        if len(set(attempts)) != len(attempts):
            yield f"attempts of {key} have the numbers {attempts}"
        if call["effect"] != EFFECTS[call["name"]]:
            yield f"{call['name']} is recorded as {call['effect']}"
        if call["effect"] == "once" and starts[key] > 1:
            yield f"once call {key} of {call['name']} was started {starts[key]} times"
        if call["result_seq"] is not None:
            result = messages[call["result_seq"]]
            if result["role"] != "tool" or result["tool_call_id"] != call["id"]:
                yield f"the result of {key} is {result}"
            if call["state"] == "succeeded":
                what = json.loads(call["arguments"])["what"]
                if key not in ends or result["content"] != result_of(call["name"], what, key):
                    yield f"{key} succeeded without its function having returned {result['content']!r}"


def _turns(found: Evidence) -> Iterator[str]:
    session, turns = found.session, found.table("turns")
    assert session is not None
    live = [row for row in turns if row["ended_at"] is None]
    if len(live) > 1 or bool(live) != (session["owner"] is not None):
        yield f"{len(live)} turns are live, the owner is {session['owner']}"
    if [row["number"] for row in turns] != list(range(1, session["next_turn"])):
        yield "turn numbers have gaps"
    if found.open_calls and turns[-1]["state"] not in ("acting", "interrupted"):
        yield f"calls are open in a turn that is {turns[-1]['state']}"


def _compactions(found: Evidence) -> Iterator[str]:
    messages = found.table("messages")
    for number in {row["folded_by"] for row in messages} | {row["note_of"] for row in messages}:
        if number is not None and number not in {row["number"] for row in found.table("compactions")}:
            yield f"compaction {number} is half there"
    for row in found.table("compactions"):
        folded = [m for m in messages if m["folded_by"] == row["number"]]
        note = [m for m in messages if m["seq"] == row["note_seq"] and m["note_of"] == row["number"]]
        if len(folded) != row["folded"] or len(note) != 1:
            yield f"compaction {row['number']} folded {len(folded)} of {row['folded']} messages under {len(note)} notes"
        elif NOTE not in note[0]["body"]:
            yield f"the note of compaction {row['number']} is {note[0]['body']}"


def _usage(found: Evidence, requests: Sequence[Row]) -> Iterator[str]:
    """A row for every answer that was recorded. An answer whose process died before that was paid for and is lost."""
    rows = found.table("usage")
    answers = sum(row["role"] == "assistant" for row in found.table("messages"))
    purposes = [row["purpose"] for row in rows]
    if purposes.count("answer") != answers or purposes.count("summary") != len(found.table("compactions")):
        yield f"usage rows {purposes} for {answers} answers"
    if len(rows) > sum(line["status"] == 200 for line in requests):
        yield "there are more usage rows than answers of the server"


def _active(found: Evidence) -> list[Row]:
    return sorted((row for row in found.table("messages") if row["state"] == "active"), key=_place)


def _place(row: Row) -> tuple[int, int]:
    return row["place"], row["seq"]
