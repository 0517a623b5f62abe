"""What the kit saw of tools, held against the ledger of calls: nothing entered unstarted, nothing unsafe twice."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator

from power_loop.engine.calls import edited
from power_loop.testing.crash.evidence import Evidence, Row, SessionRows
from power_loop.testing.crash.place import Line


def runs(found: Evidence) -> Iterator[str]:
    """Every run belongs to a call that was durably started before; a `once` call has one, unless told else."""
    by_key: dict[str, tuple[SessionRows, Row]] = {
        session.key_of(call): (session, call) for session in found.sessions for call in session.table("calls")
    }
    of_call: dict[str, list[Line]] = defaultdict(list)
    for line in found.runs:
        of_call[line["key"]].append(line)
    for key, seen in of_call.items():
        if key not in by_key:
            yield f"{seen[0]['tool']} was entered for a call that is not in the ledger (key {key})"
    for key, (session, call) in by_key.items():
        for problem in _of_call(session, call, of_call[key]):
            yield f"call {key} of {call['name']}: {problem}"


def licensed(call: Row, seen: list[Line]) -> bool:
    """Whether somebody said that a `once` call may run again: its tool, a person, or the app's own policy."""
    return (
        call["decision"] == "retry"
        or any(line.get("not_done") for line in seen)
        or any(line.get("in_doubt") == "retry" for line in seen)
    )


def _of_call(session: SessionRows, call: Row, seen: list[Line]) -> Iterator[str]:
    starts = [line for line in seen if line["event"] == "start"]
    attempts = [line["attempt"] for line in starts]
    if starts and call["attempt"] == 0:
        yield "it was entered before it was started on disk"
    elif any(attempt > call["attempt"] for attempt in attempts):
        yield f"attempts {attempts} were made, {call['attempt']} are recorded"
    if len(set(attempts)) != len(attempts):
        yield f"attempts have the numbers {attempts}"
    wait = _approval(session, call)
    if starts and wait is not None and wait["decision"] != "approved":
        yield f"it was entered, and a person has said {wait['decision']}"
    if call["effect"] == "once" and len(starts) > 1 and not licensed(call, seen):
        yield f"a `once` call was entered {len(starts)} times"
    for line in seen:
        if (line["call"], line["tool"], line["session"]) != (call["id"], call["name"], session.id):
            yield f"its key was given to call {line['call']} of {line['tool']} in session {line['session']}"
    if call["state"] == "succeeded" and call["settled_by"] in ("run", "reconcile"):
        given = [line["result"] for line in seen if "result" in line]
        stored = _text(session, call["result_seq"])
        if (wait := _approval(session, call)) is not None and wait["changed"] is not None:
            given = [edited(text, wait["changed"]) for text in given]
        if stored not in given:
            yield f"it succeeded with {stored!r}, which no run of it returned"


def _approval(session: SessionRows, call: Row) -> Row | None:
    """What a person was asked about a call."""
    place = (call["seq"], call["ordinal"], "approval")
    return next((row for row in session.table("waits") if (row["seq"], row["ordinal"], row["kind"]) == place), None)


def _text(session: SessionRows, seq: int) -> str | None:
    """The text of a result: whole, also where its message shows a part of it."""
    for row in session.table("outputs"):
        if row["seq"] == seq:
            return zlib.decompress(row["data"]).decode()
    found = next((row["body"] for row in session.table("messages") if row["seq"] == seq), None)
    return None if found is None else str(json.loads(found)["content"])
