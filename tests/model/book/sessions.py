"""Sessions as dicts, what can be said of them, and what is done to them outside turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from power_loop import Tool
from tests.model.book.parts import Op, Refused, Run, Said
from tests.model.hands import Hand
from tests.model.shelf import LIVE, OPEN, Session


class Sessions:
    def __init__(self, config: Mapping[str, Any], tools: Mapping[str, Mapping[str, Tool]]) -> None:
        self.sessions: dict[str, Session] = {}
        self.config = config
        self.tools = tools
        self.running: dict[str, Run] = {}
        self.lines: dict[str, list[Op]] = {}
        self.expected: Counter[Said] = Counter()
        self.steered: set[str] = set()
        """Texts that a running turn has been told of and must take in at its next boundary."""

    def open_calls(self, s: str) -> list[str]:
        return [call for call, row in self.sessions[s]["calls"].items() if row["state"] in OPEN]

    def state(self, s: str) -> str:
        """As `get_session` tells it."""
        session = self.sessions[s]
        turn = session["turns"][-1] if session["turns"] else None
        if session["quarantined"]:
            return "quarantined"
        if turn is None or turn["state"] == "done":
            return "idle"
        if turn["state"] in LIVE and s in self.running:
            return "running"
        if turn["state"] == "cancelled":
            return "stopped"
        if self.open_calls(s):
            return "interrupted_in_tools"
        return "failed" if turn["state"] == "failed" else "interrupted_before_model"

    def tool(self, hand: Hand, name: str) -> Tool | None:
        return self.tools[hand.options["tools"]].get(name)

    def known(self, s: str, request: str) -> int | None:
        """The turn that works on a request."""
        session = self.sessions[s]
        for number, turn in enumerate(session["turns"], 1):
            if turn["request_id"] == request:
                return number
        taken: int | None = session["taken"].get(request)
        return taken

    def took(self, s: str, text: str) -> int:
        """The turn that took an input in."""
        return next(int(turn) for role, said, turn in self.sessions[s]["messages"] if (role, said) == ("user", text))

    def last_of(self, s: str, origin: int) -> int:
        """The last turn that worked on what the turn `origin` took in."""
        return max(n for n, turn in enumerate(self.sessions[s]["turns"], 1) if turn["origin"] == origin)

    def result(self, s: str, number: int | None) -> Said:
        """What a call returns of a turn: its number, status, last words, and the calls that are open."""
        if number is None:
            return (0, "completed", "", ())
        session = self.sessions[s]
        turn = session["turns"][number - 1]
        return (number, turn["status"], turn["answer"] or "", tuple(self.open_calls(s)))

    def takes_input(self, s: str) -> None:
        if self.sessions[s]["closed"]:
            raise Refused("session.closed")
        if self.sessions[s]["archived"]:
            raise Refused("session.archived")

    def pending(self, s: str) -> Refused:
        return Refused("session.quarantined" if self.sessions[s]["quarantined"] else "session.pending")

    def interrupt(self, s: str) -> None:
        turns = self.sessions[s]["turns"]
        if turns and turns[-1]["state"] in LIVE:
            turns[-1] |= {"state": "interrupted", "status": "interrupted"}

    def settle(self, s: str, call: str, state: str, by: str, said: str | None = None) -> None:
        session = self.sessions[s]
        session["calls"][call] |= {"state": state, "settled_by": by, "said": said}
        if by in ("run", "reconcile"):
            session["recoveries"] = 0

    def abort(self, s: str) -> list[str]:
        session, calls = self.sessions[s], self.open_calls(s)
        turn = session["turns"][-1] if session["turns"] else None
        if turn is None or not (calls or turn["state"] in LIVE):
            if session["quarantined"]:
                session |= {"quarantined": False, "recoveries": 0, "owner": None}
            return []
        if turn["state"] != "cancelled":
            turn |= {"state": "cancelled", "status": "cancelled"}
        for call in calls:
            self.settle(s, call, "aborted", "abort")
        session |= {"owner": None, "recoveries": 0, "quarantined": False}
        return calls

    def resolve(self, s: str, call: str, way: str) -> None:
        row = self.sessions[s]["calls"].get(call)
        if row is None:
            raise Refused("call.not_found")
        if row["state"] != "started":
            raise Refused("call.settled")
        self.interrupt(s)
        self.sessions[s]["owner"] = None
        if way in ("retry", "report"):
            row["decision"] = way
        else:
            words = "by hand" if way == "result" else "Error: by hand"
            self.settle(s, call, "succeeded" if way == "result" else "failed", "person", words)
            self.sessions[s] |= {"recoveries": 0, "quarantined": False}
