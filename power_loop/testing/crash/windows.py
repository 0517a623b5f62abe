"""Which window a death fell into: proof that a sweep really hit the interesting ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from power_loop.testing.crash.evidence import Evidence, SessionRows
from power_loop.testing.crash.points import Point

WINDOWS: Final = frozenset(
    {
        "before the file",
        "while the file was made",
        "file without session",
        "session without turn",
        "input stored, no answer",
        "calls requested",
        "read in doubt",
        "idempotent in doubt",
        "once in doubt, never entered",
        "once in doubt, half done",
        "once in doubt, done",
        "settled beside open",
        "round closed",
        "summary asked for",
        "compacted, turn live",
        "acknowledged and idle",
        "inside a transaction",
        "committed, not acknowledged",
        "several sessions open",
        "stopped on purpose",
        "waits for somebody",
        "decided, not taken up",
    }
)
"""The kinds of moments a death can fall into; which of them a scenario can reach depends on what it does."""


def windows(found: Evidence, point: Point) -> Iterator[str]:
    """Every window this death fell into."""
    if point.name.startswith("sql.") and point.name not in ("sql.begin", "sql.data_version"):
        yield "inside a transaction"
    if point.name == "loop.fold":
        yield "summary asked for"
    if found.leftovers:
        yield "while the file was made"
    if found.rows is None:
        yield "before the file"
    elif not found.sessions:
        yield "file without session"
    if sum(turn["ended_at"] is None for turn in found.table("turns")) > 1:
        yield "several sessions open"
    for session in found.sessions:
        yield from _of_session(found, session)


def _of_session(found: Evidence, session: SessionRows) -> Iterator[str]:
    turn = session.last_turn
    if turn is None:
        yield "session without turn"
        return
    if turn["state"] == "done":
        heard = {line["request"] for line in found.acknowledged if line.get("at") == session.id}
        stored = {row["request_id"] for row in session.table("turns")} - {None}
        yield "acknowledged and idle" if stored <= heard else "committed, not acknowledged"
        return
    if turn["state"] in ("cancelled", "waiting"):
        yield "stopped on purpose"
    if turn["state"] == "asking":
        yield "round closed" if turn["rounds"] else "input stored, no answer"
    if session.table("compactions"):
        yield "compacted, turn live"
    yield from _of_calls(found, session)


def _of_calls(found: Evidence, session: SessionRows) -> Iterator[str]:
    calls = session.table("calls")
    states = {call["state"] for call in calls if call["seq"] == calls[-1]["seq"]}
    entered = {(line["event"], line["key"]) for line in found.runs}
    if "requested" in states:
        yield "calls requested"
    if session.open_calls and states - {"requested", "started"}:
        yield "settled beside open"
    waits = {(row["seq"], row["ordinal"]): row for row in session.table("waits")}
    for call in session.open_calls:
        wait = waits.get((call["seq"], call["ordinal"]))
        if wait is not None and call["state"] != "started":
            yield "waits for somebody" if wait["decision"] is None else "decided, not taken up"
        if call["state"] != "started" or (wait is not None and wait["kind"] == "result"):
            continue
        key = session.key_of(call)
        if call["effect"] != "once":
            yield f"{call['effect']} in doubt"
        elif ("end", key) in entered:
            yield "once in doubt, done"
        else:
            yield "once in doubt, half done" if ("start", key) in entered else "once in doubt, never entered"


def outcomes(before: Evidence, after: Evidence) -> Iterator[str]:
    """Of each call that was found open: what it was, and what became of it."""
    later = {session.id: session for session in after.sessions}
    for session in before.sessions:
        if session.id not in later:
            continue
        now = {(call["seq"], call["ordinal"]): call for call in later[session.id].table("calls")}
        for call in session.open_calls:
            became = now.get((call["seq"], call["ordinal"]), {"state": "gone"})["state"]
            yield f"{call['effect']} {call['state']} -> {became}"
