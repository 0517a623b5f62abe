"""The events of a session, held against its other rows: numbered whole, and whatever began came to its one end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from power_loop.testing.crash.evidence import SessionRows

ENDS: Final = ("AnswerReceived", "TurnCompleted", "TurnParked", "TurnFailed", "TurnCancelled", "TurnInterrupted")


def happened(session: SessionRows) -> Iterator[str]:
    """True at every instant: an event is a part of the commit that it reports."""
    last = 0
    facts: list[dict[str, Any]] = []
    for row in session.table("events"):
        held = json.loads(row["body"])
        if row["number"] != last + 1 or row["facts"] != len(held):
            yield f"after event {last} come {row['facts']} from {row['number']} on, in a row of {len(held)}"
        last = row["number"] + row["facts"] - 1
        facts += held
    if last != session.row["events"]:
        yield f"{session.row['events']} events are counted, {last} are there"
    yield from _turns(session, facts)
    yield from _calls(session, facts)


def _turns(session: SessionRows, facts: list[dict[str, Any]]) -> Iterator[str]:
    began: list[int] = []
    live: int | None = None
    for fact in facts:
        kind, turn = fact["fact"], fact["turn"]
        if kind == "TurnBegan":
            if live is not None:
                yield f"turn {turn} began, and turn {live} had not ended"
            began.append(turn)
            live = turn
        elif kind in ENDS and turn != live:
            yield f"{kind} of turn {turn}, and the live one was {live}"
        elif kind in ENDS or (kind == "CallsAborted" and turn == live):
            live = None
    turns = session.table("turns")
    if began != [turn["number"] for turn in turns]:
        yield f"by the events the turns {began} began, stored are {[turn['number'] for turn in turns]}"
    if [live] != ([turn["number"] for turn in turns if turn["ended_at"] is None] or [None]):
        yield f"by the events turn {live} is live"


def _calls(session: SessionRows, facts: list[dict[str, Any]]) -> Iterator[str]:
    requested: set[tuple[int, int]] = set()
    started: set[tuple[int, int]] = set()
    settled: set[tuple[int, int]] = set()
    for fact in facts:
        kind = fact["fact"]
        said = fact.get("calls", [fact["key"]] if "key" in fact else [])
        # An answer says how many it asks for.
        keys = [(fact["message"], n) for n in range(said)] if isinstance(said, int) else [tuple(key) for key in said]
        for key in keys:
            if kind == "CallsRequested":
                requested.add(key)
            elif kind in ("CallsStarted", "ResultsAwaited"):
                started.add(key)
                if key not in requested or key in settled:
                    yield f"{kind} of call {key}, which was not open"
            elif kind in ("CallSettled", "CallsAborted"):
                if key not in requested or key in settled:
                    yield f"{kind} of call {key}, which was not open"
                settled.add(key)
    calls = session.table("calls")
    for what, told, stored in (
        ("requested", requested, calls),
        ("started", started, [call for call in calls if call["attempt"]]),
        ("settled", settled, [call for call in calls if call["result_seq"] is not None]),
    ):
        if told != {(call["seq"], call["ordinal"]) for call in stored}:
            yield f"by the events the calls {sorted(told)} were {what}, stored are others"
