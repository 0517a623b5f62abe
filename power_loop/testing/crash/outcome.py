"""What a recovery may make of what a death left: nothing lost, nothing skipped, and at the end all is at rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from power_loop.testing.crash.evidence import Evidence, Row, SessionRows, notes_of_rules, place_of
from power_loop.testing.crash.runs import licensed

_GROWS = {
    "messages": (("session", "seq"), ("state", "folded_by")),
    "usage": (("session", "number"), ()),
    "compactions": (("session", "number"), ("undone_at", "undone_usage_rows")),
    "schema_migrations": (("version",), ()),
}
"""Tables whose rows stay as they are, by which key, but for which columns."""


def kept(before: Evidence, after: Evidence) -> Iterator[str]:
    """A recovery adds; what was there stays as it was."""
    if before.rows is None:
        return
    undone = {(row["session"], row["number"]) for row in after.table("compactions") if row["undone_at"] is not None}
    for table, (key, changing) in _GROWS.items():
        now = {tuple(row[k] for k in key): row for row in after.table(table)}
        for row in before.table(table):
            still = now.get(tuple(row[k] for k in key))
            if still is None or any(still[k] != v for k, v in row.items() if k not in changing):
                yield f"{table} row {row} became {still}"
            elif row.get("state") == "compacted_out" and still["state"] != "compacted_out":
                if (row["session"], row["folded_by"]) not in undone:
                    yield f"folded message {row['seq']} came back"
            elif row.get("undone_at") is not None and still["undone_at"] != row["undone_at"]:
                yield f"compaction {row['number']} was undone twice"
    now_by_id = {session.id: session for session in after.sessions}
    for session in before.sessions:
        later = now_by_id.get(session.id)
        if later is None:
            yield f"session {session.id} is gone"
            continue
        if session.row["epoch"] > later.row["epoch"]:
            yield f"session {session.id}: the epoch went back"
        said = {(row["seq"], row["ordinal"], row["kind"]): row for row in later.table("waits")}
        for row in session.table("waits"):
            now_said = said.get((row["seq"], row["ordinal"], row["kind"]))
            if now_said is None or (row["decision"] is not None and now_said != row):
                yield f"session {session.id}: what a person said, {row}, became {now_said}"
        calls = {(call["seq"], call["ordinal"]): call for call in later.table("calls")}
        for call in session.table("calls"):
            now_call = calls.get((call["seq"], call["ordinal"]))
            if now_call is None or (call["result_seq"] is not None and now_call != call):
                yield f"session {session.id}: call {call} became {now_call}"


def effects(before: Evidence, after: Evidence, *, runs: bool) -> Iterator[str]:
    """What became of the calls that a death left behind: `runs` says whether the recovery resumes or gives them up."""
    earlier, later = before.starts(), after.starts()
    now_by_id = {session.id: session for session in after.sessions}
    stopped = any(
        line["event"] == "lost" or line.get("status", "completed") != "completed"
        for line in after.sent[len(before.sent) :]
    )
    for session in before.sessions:
        if (then := now_by_id.get(session.id)) is None:
            continue  # `kept` says so
        calls = {then.key_of(call): call for call in then.table("calls")}
        for call in session.table("calls"):
            key = session.key_of(call)
            if key in calls:
                more = later[key] - earlier[key]
                problem = _settled(call, more) if call["result_seq"] is not None else None
                if problem is None and call["result_seq"] is None:
                    seen = [line for line in after.runs if line["key"] == key]
                    again = licensed(calls[key], seen)
                    problem = _resumed(call, calls[key], more, again, stopped) if runs else _given_up(calls[key], more)
                if problem is not None:
                    yield f"session {session.id}: {call['state']} call {key} of {call['name']} {problem}"


def _settled(call: Row, more: int) -> str | None:
    return f"was entered {more} times more" if more else None


def _given_up(now: Row, more: int) -> str | None:
    if more:
        return f"was to be given up, and was entered {more} times"
    return None if now["state"] == "aborted" else f"was to be given up, and is {now['state']}"


def _resumed(call: Row, now: Row, more: int, again: bool, stopped: bool) -> str | None:
    """What is wrong with the end of a call that was open: a requested one runs, one in doubt as it must be."""
    if now["result_seq"] is None:
        return "is open still"
    if now["state"] == "aborted":
        return "was given up, though it was to go on"
    if now["settled_by"] in ("gate", "person"):
        return f"was settled by the {now['settled_by']}, and was entered {more} times" if more else None
    once = call["effect"] == "once" and not again
    # A turn that the app itself stopped meanwhile is taken up once more.
    most = 1 if once or not stopped else more
    if call["state"] == "started" and call["effect"] == "once" and not (again and now["settled_by"] == "run"):
        if now["settled_by"] == "run":
            return f"was in doubt and ran again, to be {now['state']}"
        most = 0 if not again else most
    elif more == 0:
        return f"never ran, and is {now['state']}"
    return None if more <= most else f"was entered {more} times by the recovery, to be {now['state']}"


def rested(found: Evidence, witness: Mapping[str, Any], after: str, expected: set[str]) -> Iterator[str]:
    """True when all is over and every session answered the last input. `expected`: the inputs that must be stored."""
    if not found.sessions:
        yield "there is no session at the end"
    for session in found.sessions:
        seen = witness.get(session.id)
        if seen is None:
            yield f"session {session.id} is not listed"
            continue
        for problem in _at_rest(found, session, seen, after):
            yield f"session {session.id}: {problem}"
    stored = {row["request_id"] for row in found.table("turns")} | {
        row.get("request_id") for row in found.table("inputs")
    }
    if expected - stored:
        yield f"the inputs {sorted(expected - stored)} are not stored"


def _at_rest(found: Evidence, session: SessionRows, seen: Mapping[str, Any], after: str) -> Iterator[str]:
    yield from (f"call {call['id']} is open" for call in session.open_calls)
    if session.row["owner"] is not None or seen["state"] != "idle":
        yield f"it is {seen['state']}, its owner {session.row['owner']}"
    active = [json.loads(row["body"]) for row in session.active]
    notes = notes_of_rules(session)
    users = [row for row in session.active if row["role"] == "user" and row["seq"] not in notes]
    inputs = [json.loads(row["body"])["content"] for row in users]
    if not inputs or inputs[-1] != after or active[-1]["role"] != "assistant" or active[-1].get("tool_calls"):
        yield f"the last input was {inputs[-1:]}, the last message is {active[-1:]}"
    asked = [line["messages"] for line in found.asked if line["event"] == "asked"]
    if active[:-1] not in asked:
        yield "the active messages are not what the model was sent last"
    shown = [(m["seq"], m["body"], m["state"]) for m in seen["all"]]
    stored = [(m["seq"], m["body"], m["state"]) for m in sorted(session.table("messages"), key=place_of)]
    if shown != stored:
        yield "get_messages(include_compacted=True) does not show what is stored"
    if [json.loads(m["body"]) for m in seen["active"]] != active:
        yield "get_messages() does not show the active messages"
    if seen["usage"] != len(session.table("usage")):
        yield "get_usage() does not show every row"
