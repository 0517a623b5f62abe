"""How turns come to be: by an input, or by going on with what was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.model.book.parts import Op, Refused, Run, turn_of
from tests.model.book.turns import Turns
from tests.model.hands import Hand
from tests.model.shelf import LIVE


class Claims(Turns):
    def begin(self, op: Op, text: str, request: str | None, *, abort: bool, waited: bool) -> Run:
        """A turn on an input. Raises if open calls stand in its way."""
        session = self.sessions[op.session]
        calls = self.open_calls(op.session)
        if calls and not abort:
            raise self.pending(op.session)
        self.interrupt(op.session)
        for call in calls:
            self.settle(op.session, call, "aborted", "abort")
        number = len(session["turns"]) + 1
        session["turns"].append(turn_of(number, request))
        if waited:
            session["waiting"] = [one for one in session["waiting"] if one["text"] != text]
            if request is not None:
                session["taken"][request] = number
        session["messages"].append(("user", text, number))
        session |= {"recoveries": 0, "quarantined": False}
        return self.run(op, self.config["in_doubt"])

    def take_up(
        self,
        op: Op,
        decisions: Mapping[str, str],
        policy: str,
        *,
        only_orphan: bool = False,
        origin: int | None = None,
    ) -> Run | int | None:
        """Go on with a session, or only with what the turn `origin` began.

        A turn; or, with nothing to go on from, the number of the last one (None: none).
        """
        s = op.session
        session = self.sessions[s]
        self.takes_input(s)
        last = session["turns"][-1] if session["turns"] else None
        calls = self.open_calls(s)
        for call, decision in decisions.items():
            if call not in calls:
                raise Refused("call.not_found")
            if decision != "abort" and not session["calls"][call]["attempt"]:
                raise Refused("call.settled")
        if origin is not None and last is not None and last["origin"] != origin:
            return self.last_of(s, origin)
        if last is None or (last["state"] == "done" and not calls) or (only_orphan and last["state"] not in LIVE):
            return len(session["turns"]) or None
        if session["quarantined"]:
            raise Refused("session.quarantined")
        if session["recoveries"] >= self.config["max_recoveries"]:
            self.interrupt(s)
            session |= {"quarantined": True, "owner": None}
            raise Refused("session.quarantined")
        if self.config["tool_drift"] == "refuse" and any(
            self.drifted(op.hand, session["calls"][call]) for call in calls if decisions.get(call) != "abort"
        ):
            raise Refused("tool.changed")
        self.interrupt(s)
        for call, decision in decisions.items():
            if decision == "abort":
                self.settle(s, call, "aborted", "abort")
            else:
                session["calls"][call]["decision"] = decision
        session["turns"].append(turn_of(last["origin"], None))
        if self.open_calls(s):
            session["turns"][-1]["state"] = "acting"
        session |= {"recoveries": session["recoveries"] + 1}
        return self.run(op, policy)

    def drifted(self, hand: Hand, row: Mapping[str, Any]) -> bool:
        tool = self.tool(hand, row["name"])
        return row["schema_hash"] is not None if tool is None else tool.schema_hash != row["schema_hash"]

    def run(self, op: Op, policy: str) -> Run:
        session = self.sessions[op.session]
        session["owner"] = op.hand.pid
        self.steered -= {one["text"] for one in session["waiting"]}  # told to a turn that died, not to this one
        doubt = {call for call in self.open_calls(op.session) if session["calls"][call]["state"] == "started"}
        self.running[op.session] = run = Run(op, op.hand, policy, op.session, doubt=doubt)
        self.drive(run)
        return run
