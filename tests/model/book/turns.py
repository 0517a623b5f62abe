"""What a turn does between what the model says and what tools return."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any, Final

from power_loop import Tool
from tests.model.book.parts import Refused, Run, Said
from tests.model.book.sessions import Sessions

CARE: Final = ("read", "idempotent", "once")
STILL_ASKING: Final = "(The round limit was reached while more tools were asked for.)"


class Turns(Sessions):
    def drive(self, run: Run) -> None:
        """Go on until the turn waits for the model or for tools, or has ended."""
        session = self.sessions[run.session]
        turn = session["turns"][-1]
        while turn["state"] == "acting":
            calls = self.open_calls(run.session)
            if not calls:
                turn["state"] = "asking"
                break
            verdicts = {call: self.verdict(run, call) for call in calls}
            if "ask" in verdicts.values():
                return self.end(run, "waiting", "pending_tools")
            batch = list(takewhile(lambda call: self.parallel(run, call), calls)) or calls[:1]
            ready = [call for call in batch if self.ready(run, call, verdicts[call])]
            for call in ready:
                row = session["calls"][call]
                row |= {"state": "started", "attempt": row["attempt"] + 1, "decision": None}
                run.doubt.discard(call)
                self.expected["entered", run.hand.name, call, row["attempt"]] += 1
                if row["name"] == "slow":
                    self.settle(run.session, call, "timed_out", "run")
                else:
                    run.entered[call] = None
            if run.entered:
                return None
        run.asked = True
        self.expected["asked", run.hand.name, run.session] += 1
        return None

    def verdict(self, run: Run, call: str) -> str:
        row = self.sessions[run.session]["calls"][call]
        tool = self.tool(run.hand, row["name"])
        if call not in run.doubt:
            return "run"
        changed = self.changed(tool, row)
        if row["decision"] is not None:
            return "run" if row["decision"] == "retry" and tool is not None and not changed else "report"
        policy = {"report": "report", "retry": "run", "ask": "ask"}[run.policy]
        if tool is None or changed:
            return "ask" if policy == "ask" else "report"
        if max(row["effect"], tool.effect, key=CARE.index) != "once":
            return "run"
        return "reconcile" if tool.reconcile is not None and call not in run.unhelpful else policy

    def changed(self, tool: Tool | None, row: Mapping[str, Any]) -> bool:
        accepts = self.config["tool_drift"] == "accept"
        return not accepts and tool is not None and tool.schema_hash != row["schema_hash"]

    def parallel(self, run: Run, call: str) -> bool:
        tool = self.tool(run.hand, self.sessions[run.session]["calls"][call]["name"])
        return tool is not None and tool.parallel

    def ready(self, run: Run, call: str, verdict: str) -> bool:
        """Whether the call is to be started; else it has its result by now, or is decided anew."""
        row = self.sessions[run.session]["calls"][call]
        if verdict == "report":
            self.settle(run.session, call, "reported", "report")
            return False
        if verdict == "reconcile":
            said = run.hand.options["reconcile"]
            if said == "done":
                self.settle(run.session, call, "succeeded", "reconcile", "it happened")
                return False
            if said == "unknown":
                if run.policy == "report":
                    self.settle(run.session, call, "reported", "report")
                else:
                    run.unhelpful.add(call)
                return False
        tool = self.tool(run.hand, row["name"])
        if tool is None or self.changed(tool, row) or row["arguments"] != '{"n": 1}':
            self.settle(run.session, call, "failed", "gate")
            return False
        return True

    def answered(self, run: Run, text: str, calls: list[tuple[str, str, str]]) -> None:
        """The model says this."""
        session = self.sessions[run.session]
        turn = session["turns"][-1]
        wrap_up = self.wraps_up(run)
        if wrap_up and calls:
            calls, text = [], text or STILL_ASKING
        run.asked, run.token = False, None
        if not text and not calls:
            session["usage"].append("dropped")
            run.empties += 1
            if run.empties == 2:
                return self.end(run, "failed", "failed", "model.output_invalid")
            run.asked = True
            self.expected["asked", run.hand.name, run.session] += 1
            return None
        run.empties = 0
        session["usage"].append("answer")
        if not calls:
            session["messages"].append(("assistant", text, len(session["turns"])))
            turn["answer"] = text
            turn["rounds"] += not wrap_up
            return self.end(run, "done", "hit_round_limit" if wrap_up else "completed")
        session["messages"].append(("assistant", [call for call, _, _ in calls], len(session["turns"])))
        turn |= {"rounds": turn["rounds"] + 1, "tool_calls": turn["tool_calls"] + len(calls), "state": "acting"}
        for call, name, arguments in calls:
            tool = self.tool(run.hand, name)
            session["calls"][call] = {
                "name": name, "arguments": arguments, "effect": "once" if tool is None else str(tool.effect),
                "schema_hash": None if tool is None else tool.schema_hash, "state": "requested", "settled_by": None,
                "attempt": 0, "turn": len(session["turns"]), "decision": None, "said": None,
            }  # fmt: skip
        return self.drive(run)

    def wraps_up(self, run: Run) -> bool:
        session = self.sessions[run.session]
        origin = session["turns"][-1]["origin"]
        spent = sum(turn["rounds"] for turn in session["turns"] if turn["origin"] == origin)
        return bool(spent >= self.config["max_rounds"])

    def returned(self, run: Run, call: str, text: str, *, failed: bool) -> None:
        """A tool's function returned or raised."""
        del run.entered[call]
        self.settle(run.session, call, "failed" if failed else "succeeded", "run", None if failed else text)
        if not run.entered:
            self.drive(run)

    def take_steered(self, run: Run, still: list[str]) -> list[str]:
        """At a boundary the turn took inputs in that steer it: those that do not wait any more. What is wrong."""
        session = self.sessions[run.session]
        gone = [one for one in session["waiting"] if one["text"] not in still]
        wrong = [f"{one['text']} was taken in though it waits" for one in gone if one["mode"] != "steer"]
        if run.empties:  # the same request once more is no boundary
            return [f"{one['text']} was taken in within a round" for one in gone]
        wrong += [
            f"{text} was to be taken in, and was not"
            for text in self.steered & set(still)
            if any(one["text"] == text for one in session["waiting"])
        ]
        for one in gone:
            self.steered.discard(one["text"])
            session["messages"].append(("user", one["text"], len(session["turns"])))
            if one["request_id"] is not None:
                session["taken"][one["request_id"]] = len(session["turns"])
        session["waiting"] = [one for one in session["waiting"] if one["text"] in still]
        return wrong

    def end(self, run: Run, state: str, status: str, error: str | None = None) -> None:
        session = self.sessions[run.session]
        session["turns"][-1] |= {"state": state, "status": status}
        session |= {"owner": None, "recoveries": 0}
        run.live, run.asked, run.error = False, False, error
        run.entered.clear()
        self.steered -= {one["text"] for one in session["waiting"]}
        del self.running[run.session]

    def own(self, run: Run) -> Said:
        """How the turn that has just ended ended, for whoever ran it."""
        if run.error:
            raise Refused(run.error)
        return self.result(run.session, len(self.sessions[run.session]["turns"]))
