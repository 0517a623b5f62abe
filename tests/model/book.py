"""What sessions are and what is done to them, as plain dicts: the model that the machine holds the loop to.

A session is a dict as `shelf` reads it from the file. A call of the API that takes part in turns is a generator: it
runs when it is first in its session's line, changes the dict, and yields while its turn waits for model or tools.
`Book` says what must be heard next; whatever else is heard is a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final, TypeAlias

from power_loop import Tool
from tests.model.hands import Hand
from tests.model.shelf import LIVE, OPEN, Session

Said: TypeAlias = tuple[Any, ...]
CARE: Final = ("read", "idempotent", "once")
STILL_ASKING: Final = "(The round limit was reached while more tools were asked for.)"


class Refused(Exception):  # noqa: N818 - an outcome of the model
    """The call raises an error of this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class Op:
    """A call of the API that takes part in turns."""

    number: int
    hand: Hand
    session: str
    kind: str
    steps: Generator[None, None, Any] | None = None
    text: str | None = None
    """The input that waits for it, or was taken in."""
    done: Any = None
    parent: Any = None

    def __repr__(self) -> str:
        return f"{self.kind} {self.number} of {self.hand.name}"


@dataclass(eq=False)
class Run:
    """A turn that runs."""

    op: Op
    hand: Hand
    policy: str
    session: str
    live: bool = True
    asked: bool = False
    token: int | None = None
    """The number of the question that the model was asked."""
    empties: int = 0
    entered: dict[str, int | None] = field(default_factory=dict)
    """Calls whose functions run, and their questions' numbers."""
    doubt: set[str] = field(default_factory=set)
    unhelpful: set[str] = field(default_factory=set)
    error: str | None = None


class Book:
    def __init__(self, config: Mapping[str, Any], tools: Mapping[str, Mapping[str, Tool]]) -> None:
        self.sessions: dict[str, Session] = {}
        self.config = config
        self.tools = tools
        self.running: dict[str, Run] = {}
        self.lines: dict[str, list[Op]] = {}
        self.expected: Counter[Said] = Counter()
        self.steered: set[str] = set()
        """Texts that a running turn has been told of and must take in at its next boundary."""

    # What can be said of a session.

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

    # What is done to a session outside turns.

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

    # Claims.

    def takes_input(self, s: str) -> None:
        if self.sessions[s]["closed"]:
            raise Refused("session.closed")
        if self.sessions[s]["archived"]:
            raise Refused("session.archived")

    def pending(self, s: str) -> Refused:
        return Refused("session.quarantined" if self.sessions[s]["quarantined"] else "session.pending")

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

    def run(self, op: Op, policy: str) -> Run:
        session = self.sessions[op.session]
        session["owner"] = op.hand.pid
        self.steered -= {one["text"] for one in session["waiting"]}  # told to a turn that died, not to this one
        doubt = {call for call in self.open_calls(op.session) if session["calls"][call]["state"] == "started"}
        self.running[op.session] = run = Run(op, op.hand, policy, op.session, doubt=doubt)
        self.drive(run)
        return run

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

    # A turn.

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

    def end(self, run: Run, state: str, status: str, error: str | None = None) -> None:
        session = self.sessions[run.session]
        session["turns"][-1] |= {"state": state, "status": status}
        session |= {"owner": None, "recoveries": 0}
        run.live, run.asked, run.error = False, False, error
        run.entered.clear()
        self.steered -= {one["text"] for one in session["waiting"]}
        del self.running[run.session]

    def wraps_up(self, run: Run) -> bool:
        session = self.sessions[run.session]
        origin = session["turns"][-1]["origin"]
        spent = sum(turn["rounds"] for turn in session["turns"] if turn["origin"] == origin)
        return bool(spent >= self.config["max_rounds"])

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

    # Lines: who is in a session, and who waits for it.

    def enter(self, op: Op, steps: Generator[None, None, Any]) -> None:
        op.steps = steps
        self.lines.setdefault(op.session, []).append(op)
        self.pump(op.session)

    def pump(self, s: str) -> None:
        """Let whoever is first go on, until a turn waits for something."""
        while (line := self.lines.get(s)) and s not in self.running:
            op = line[0]
            assert op.steps is not None
            try:
                next(op.steps)
                continue
            except StopIteration as stop:
                outcome: Said = ("done", stop.value)
            except Refused as refused:
                outcome = ("failed", refused.code)
            if op in self.lines.get(s, []):
                self.leave(op)
            self.finish(op, outcome)

    def leave(self, op: Op) -> None:
        line = self.lines[op.session]
        line.remove(op)
        if not line:
            del self.lines[op.session]

    def finish(self, op: Op, outcome: Said) -> None:
        if op.kind in ("send", "resume") and outcome[0] == "done":
            outcome = ("done", outcome[1][:4])
        if op.parent is not None:
            op.parent(op, outcome)
        else:
            self.expected[("op", op.hand.name, op.number, *freeze(outcome))] += 1

    def withdraw(self, op: Op) -> None:
        """Take its input out of the inbox, if it is still there."""
        waiting = self.sessions[op.session]["waiting"] if op.session in self.sessions else []
        waiting[:] = [one for one in waiting if one["text"] != op.text]
        self.steered.discard(op.text or "")

    def result(self, s: str, number: int | None) -> Said:
        """What a call returns of a turn: its number, status, last words, and the calls that are open."""
        if number is None:
            return (0, "completed", "", ())
        session = self.sessions[s]
        turn = session["turns"][number - 1]
        return (number, turn["status"], turn["answer"] or "", tuple(self.open_calls(s)))

    # The calls.

    def send(self, op: Op, text: str, request: str | None, on_pending: str) -> Generator[None, None, Said]:
        s = op.session
        session = self.sessions[s]
        try:
            while True:
                if op.text is None:
                    if request is not None and (number := self.known(s, request)):
                        return (yield from self.outcome(op, number, on_pending, waited=False))
                    if request is None or not any(one["request_id"] == request for one in session["waiting"]):
                        self.takes_input(s)
                        if self.open_calls(s) and on_pending == "resume":
                            on_pending = "raise"
                            ended = yield from self.resumed(op, {}, self.config["in_doubt"])
                            if ended[1] in ("stopped", "cancelled"):
                                return ended
                            continue
                        if self.open_calls(s) and on_pending == "raise":
                            raise self.pending(s)
                        if not session["waiting"]:
                            run = self.begin(op, text, request, abort=on_pending == "abort", waited=False)
                            while run.live:
                                yield
                            return self.own(run)
                        self.enqueue(op, text, "wait", request)
                    else:
                        op.text = next(one["text"] for one in session["waiting"] if one["request_id"] == request)
                number = yield from self.in_line(op, on_pending)
                return (yield from self.outcome(op, number, on_pending, waited=True))
        except Refused:
            self.withdraw(op)
            raise

    def enqueue(self, op: Op, text: str, mode: str, request: str | None) -> None:
        op.text = text
        self.sessions[op.session]["waiting"].append(
            {"text": text, "mode": mode, "request_id": request, "sender": op.hand.pid}
        )

    def in_line(self, op: Op, on_pending: str) -> Generator[None, None, int]:
        """Run what came before our input, and it; the number of the turn that took it in."""
        s = op.session
        session = self.sessions[s]
        while True:
            if not any(one["text"] == op.text for one in session["waiting"]):
                return self.took(s, op.text or "")
            self.takes_input(s)
            if self.open_calls(s) and on_pending == "resume":
                ended = yield from self.resumed(op, {}, self.config["in_doubt"])
                if ended[1] in ("stopped", "cancelled"):
                    self.withdraw(op)
                    op.done = ended
                    return 0
                if self.open_calls(s):
                    raise self.pending(s)
                continue
            first = session["waiting"][0]
            abort = on_pending == "abort"
            own = first["text"] == op.text
            run = self.begin(op, first["text"], first["request_id"], abort=abort, waited=True)
            number = len(session["turns"])
            while run.live:
                yield
            if own:
                if run.error:
                    raise Refused(run.error)
                op.done = self.result(s, number)
                return number

    def took(self, s: str, text: str) -> int:
        """The turn that took an input in."""
        return next(int(turn) for role, said, turn in self.sessions[s]["messages"] if (role, said) == ("user", text))

    def known(self, s: str, request: str) -> int | None:
        """The turn that works on a request."""
        session = self.sessions[s]
        for number, turn in enumerate(session["turns"], 1):
            if turn["request_id"] == request:
                return number
        taken: int | None = session["taken"].get(request)
        return taken

    def outcome(self, op: Op, number: int, on_pending: str, *, waited: bool) -> Generator[None, None, Said]:
        """The stored outcome of a turn that took our input in, or the rest of it."""
        s = op.session
        turns = self.sessions[s]["turns"]
        if op.done is not None:
            done: Said = op.done
            return done
        origin = turns[number - 1]["origin"]
        last = self.last_of(s, origin)
        state = turns[last - 1]["state"]
        if state == "done" or (waited and state in ("cancelled", "waiting")):
            return self.result(s, last)
        if on_pending == "abort":
            self.abort(s)
        try:
            return (yield from self.resumed(op, {}, self.config["in_doubt"], origin=origin))
        except Refused as refused:
            if not waited or refused.code not in ("session.closed", "session.archived"):
                raise
            return self.result(s, last)

    def last_of(self, s: str, origin: int) -> int:
        """The last turn that worked on what the turn `origin` took in."""
        return max(n for n, turn in enumerate(self.sessions[s]["turns"], 1) if turn["origin"] == origin)

    def own(self, run: Run) -> Said:
        """How the turn that has just ended ended, for whoever ran it."""
        if run.error:
            raise Refused(run.error)
        return self.result(run.session, len(self.sessions[run.session]["turns"]))

    def resumed(
        self, op: Op, decisions: Mapping[str, str], policy: str, origin: int | None = None
    ) -> Generator[None, None, Said]:
        begun = self.take_up(op, decisions, policy, origin=origin)
        if not isinstance(begun, Run):
            return (*self.result(op.session, begun), "idle")
        while begun.live:
            yield
        return self.own(begun)

    def resume(self, op: Op, decisions: Mapping[str, str], policy: str, alive: Any) -> Generator[None, None, Said]:
        result = yield from self.resumed(op, decisions, policy)
        if result[1] not in ("completed", "hit_round_limit"):
            return result[:4]
        more, error = yield from self.inputs_of_the_dead(op, alive)
        if result[-1] != "idle":
            return result[:4]
        if error is not None:
            raise Refused(error)
        return more or result[:4]

    def inputs_of_the_dead(self, op: Op, alive: Any) -> Generator[None, None, tuple[Said | None, str | None]]:
        """How the last one's turn ended, and why one got no answer."""
        s = op.session
        session = self.sessions[s]
        last = None
        while True:
            self.takes_input(s)
            if session["quarantined"] or not session["waiting"] or alive(session["waiting"][0]["sender"]):
                return last, None
            first = session["waiting"][0]
            run = self.begin(op, first["text"], first["request_id"], abort=False, waited=True)
            while run.live:
                yield
            if run.error:
                return last, run.error
            last = self.own(run)
            if last[3]:
                return last, None

    def orphan(self, op: Op, alive: Any) -> Generator[None, None, tuple[str, str | None] | None]:
        """What `recover("resume")` does with one session: the action, and why an input got no answer; or nothing."""
        begun = self.take_up(op, {}, self.config["in_doubt"], only_orphan=True)
        if isinstance(begun, Run):
            while begun.live:
                yield
            if self.own(begun)[1] not in ("completed", "hit_round_limit"):
                return "resume", None
        last, error = yield from self.inputs_of_the_dead(op, alive)
        if isinstance(begun, Run):
            return "resume", error
        return ("inputs", error) if last or error else None


def turn_of(origin: int, request: str | None) -> dict[str, Any]:
    return {
        "origin": origin, "state": "asking", "status": None, "request_id": request, "rounds": 0, "tool_calls": 0,
        "answer": None,
    }  # fmt: skip


def freeze(value: Any) -> Any:
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value
