"""Which window a death fell into: proof that the sweep really hit the interesting ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from power_loop.testing.crash import Point
from tests.crash.evidence import Evidence

WANTED: Final = frozenset(
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
    }
)

OUTCOMES: Final = frozenset(
    {
        "read requested -> succeeded",
        "once requested -> succeeded",
        "read started -> succeeded",
        "idempotent started -> succeeded",
        "once started -> reported",
        "once started -> aborted",
        "once requested -> aborted",
    }
)
"""Ways of open calls that a sweep must have seen."""


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
        return
    if found.session is None:
        yield "file without session"
        return
    turn = found.last_turn
    if turn is None:
        yield "session without turn"
        return
    if turn["state"] == "done":
        steps = {row["request_id"] for row in found.table("turns")}
        yield "acknowledged and idle" if steps <= set(found.acknowledged) else "committed, not acknowledged"
        return
    if turn["state"] == "asking" and turn["rounds"] == 0:
        yield "input stored, no answer"
    if turn["state"] == "asking" and turn["rounds"]:
        yield "round closed"
    if found.table("compactions"):
        yield "compacted, turn live"
    yield from _calls(found)


def _calls(found: Evidence) -> Iterator[str]:
    states = {call["state"] for call in found.table("calls") if call["seq"] == found.table("calls")[-1]["seq"]}
    entered = {(line["event"], line["tool"]) for line in found.ledger}
    if "requested" in states:
        yield "calls requested"
    if found.open_calls and states - {"requested", "started"}:
        yield "settled beside open"
    for call in found.open_calls:
        if call["state"] != "started":
            continue
        if call["effect"] != "once":
            yield f"{call['effect']} in doubt"
        elif ("end", call["name"]) in entered:
            yield "once in doubt, done"
        else:
            half = ("start", call["name"]) in entered
            yield "once in doubt, half done" if half else "once in doubt, never entered"
