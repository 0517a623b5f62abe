"""What happens to a file of sessions, drawn by Hypothesis, and what must be true after each of it.

The machine is the model and the tools of its agents: nothing they wait for ends before a rule says so. After every rule
everything that the book expects is heard and nothing else, the file is what the book says, and it is sound.
"""

from __future__ import annotations

import copy
import json
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from power_loop import Tool
from power_loop.compaction.summary import INSTRUCTIONS
from power_loop.store.sqlite import migrating
from tests.model.agent import toolbox
from tests.model.book import Book, Op, Refused, Run, Said, freeze
from tests.model.hands import PATIENCE, ROOT, Hand, Host
from tests.model.shelf import LIVE, Shelf

TOOLS: Final[dict[str, dict[str, Tool]]] = {
    which: {tool.name: tool for tool in toolbox(None, which)} for which in ("all", "gone", "changed")
}
GOOD: Final = '{"n": 1}'
CALLS: Final = st.lists(
    st.tuples(
        st.sampled_from(["look", "put", "pay", "sure", "slow", "ghost"]),
        st.sampled_from([GOOD, GOOD, "{broken", '{"m": 1}']),
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip
ANSWERS: Final = st.sampled_from(["words", "words", "empty", "error"])
SESSIONS: Final = st.sampled_from(["s0", "s0", "second"])
AGENTS: Final = st.sampled_from(["A", "A", "B"])
DIES: Final = st.one_of(st.none(), st.none(), st.none(), st.integers(1, 10))
PICK: Final = st.integers(0, 3)
ENDS: Final = 30
"""Turns that the end of an example may take at most."""


class Machine(RuleBasedStateMachine):
    host: ClassVar[Host]
    fault: ClassVar[str | None] = None
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for what must happen."""
    found: ClassVar[list[str]] = []
    """What was wrong in examples so far; the first is the least disturbed by what Hypothesis tries afterwards."""
    statistics: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.path = self.folder / "agent.db"
        self.hands: dict[str, Hand] = {}
        self.shelf: Shelf | None = None
        self.numbered = 0
        self.entries: Counter[str] = Counter()
        self.zombies: list[tuple[Run, Op]] = []
        self.numbers: dict[str, tuple[int, int, int]] = {}
        self.requests: dict[str, int] = {}
        self.sound = True

    @initialize(
        in_doubt=st.sampled_from(["report", "retry", "ask"]),
        drift=st.sampled_from(["report", "report", "refuse", "accept"]),
        recoveries=st.integers(1, 3),
        rounds=st.integers(1, 4),
        window=st.sampled_from([128_000, 256, 600]),
        begin=st.sampled_from(["new", "new", "new", "migration 1", "schema_0001.db"]),
    )
    def begins(self, in_doubt: str, drift: str, recoveries: int, rounds: int, window: int, begin: str) -> None:
        self.config = {
            "in_doubt": in_doubt, "tool_drift": drift, "max_recoveries": recoveries, "max_rounds": rounds,
            "context_window": window, "synchronous": "NORMAL",
        }  # fmt: skip
        if begin == "migration 1":
            older(self.path)
        elif begin != "new":
            shutil.copyfile(ROOT / "tests" / "corpus" / begin, self.path)
        self.book = Book(self.config, TOOLS)
        self.starts("A", "all", "unknown")
        self.shelf = Shelf(self.path)
        self.book.sessions = self.shelf.sessions()
        self.last = copy.deepcopy(self.book.sessions)
        self.create("A", "s0", None)
        self.second = "in tools" if begin == "schema_0001.db" else "s1"

    def starts(self, name: str, tools: str | None, reconcile: str) -> Hand:
        options = {"path": str(self.path), "config": self.config, "fault": self.fault, "tools": tools}
        self.hands[name] = hand = self.host.start(name, **options, reconcile=reconcile)
        return hand

    def hand(self, name: str) -> Hand:
        return self.hands.get(name) or self.starts(name, "all", "unknown")

    def alive(self, pid: int) -> bool:
        return any(hand.pid == pid for hand in self.hands.values())

    # What is done at once.

    def now(
        self, hand: Hand, name: str, given: dict[str, Any], spec: Callable[[], Any], dies: int | None = None
    ) -> None:
        """A call of the API that no turn takes part in. One that is refused changes nothing."""
        assert self.shelf is not None
        before = self.shelf.dump()
        self.numbered += 1
        try:
            outcome: Said = ("done", spec())
        except Refused as refused:
            outcome = ("failed", refused.code)
        self.book.expected[("op", hand.name, self.numbered, *freeze(outcome))] += 1
        self.arm(hand, dies)
        hand.tell(op=self.numbered, do=name, **{"with": given})
        self.settle(hand if dies else None)
        if outcome[0] == "failed" and hand.alive:
            assert self.shelf.dump() == before, f"{name} was refused with {outcome[1]}, and changed something"

    def busy(self, s: str) -> None:
        if s not in self.book.sessions:
            raise Refused("session.not_found")
        if s in self.book.running:
            raise Refused("session.busy")

    def free_of_zombies(self, hand: Hand, s: str) -> bool:
        """Whether a hand is in no turn of a session that it lost and does not know of yet."""
        return not any(run.hand is hand and run.session == s for run, _ in self.zombies)

    @rule(
        agent=AGENTS,
        session=SESSIONS,
        what=st.sampled_from(
            [
                "create",
                "create",
                "create child",
                "archive",
                "bring back",
                "bring back",
                "free",
                "abort",
                "abort",
                "close",
                "delete",
            ]
        ),
    )
    def manage(self, agent: str, session: str, what: str) -> None:
        session = self.name(session)
        match what:
            case "create" | "create child":
                self.create(agent, session, "s0" if what == "create child" else None)
            case "archive" | "bring back":
                self.archive(agent, session, what == "archive")
            case "free":
                self.free(agent, session)
            case "abort":
                self.abort(agent, session)
            case "close":
                self.close(agent, session)
            case "delete":
                self.delete(agent, session)

    def create(self, agent: str, session: str, parent: str | None) -> None:
        def spec() -> str:
            if session in self.book.sessions:
                raise Refused("session.exists")
            if parent is not None and parent not in self.book.sessions:
                raise Refused("session.not_found")
            if parent is not None and self.book.sessions[parent]["closed"]:
                raise Refused("session.closed")
            self.book.sessions[session] = {
                "closed": False, "archived": False, "quarantined": False, "recoveries": 0, "owner": None,
                "messages": [("system", f"You are {session}.", 0)], "turns": [], "calls": {}, "usage": [],
                "waiting": [], "taken": {},
            }  # fmt: skip
            self.children.setdefault(parent, []).append(session) if parent else None
            return session

        given = {"session_id": session, "parent": parent, "system_prompt": f"You are {session}."}
        self.now(self.hand(agent), "create_session", given, spec)

    @property
    def children(self) -> dict[str, list[str]]:
        return self.__dict__.setdefault("_children", {})  # type: ignore[no-any-return]

    def family(self, s: str) -> list[str]:
        found = [s]
        for member in found:
            found += self.children.get(member, [])
        return found

    def abort(self, agent: str, session: str) -> None:
        def spec() -> list[str]:
            self.busy(session)
            return self.book.abort(session)

        self.now(self.hand(agent), "abort_pending", {"session_id": session}, spec)

    @precondition(lambda self: self.any_calls())
    @rule(agent=AGENTS, pick=PICK, way=st.sampled_from(["result", "error", "retry", "report"]))
    def resolve(self, agent: str, pick: int, way: str) -> None:
        calls = [(s, call) for s in self.book.sessions for call in self.book.sessions[s]["calls"]]
        started = [(s, c) for s, c in calls if self.book.sessions[s]["calls"][c]["state"] == "started"]
        s, call = (started or calls)[-1 - pick % len(started or calls)]

        def spec() -> None:
            self.busy(s)
            self.book.resolve(s, call, way)

        given = {"result": "by hand"} if way == "result" else {"error": "by hand"} if way == "error" else {way: True}
        self.now(self.hand(agent), "resolve", {"session_id": s, "call_id": call, **given}, spec)

    def archive(self, agent: str, session: str, archived: bool) -> None:
        def spec() -> None:
            self.busy(session)
            self.book.sessions[session]["archived"] = archived

        self.now(self.hand(agent), "archive_session", {"session_id": session, "archived": archived}, spec)

    def close(self, agent: str, session: str) -> None:
        def spec() -> list[str]:
            self.busy(session)
            for member in self.family(session):
                self.busy(member)
            for member in self.family(session):
                self.book.abort(member)
                self.book.sessions[member] |= {"closed": True, "waiting": []}
            return self.family(session)

        self.now(self.hand(agent), "close_session", {"session_id": session}, spec)

    def delete(self, agent: str, session: str) -> None:
        if any(run.session in self.family(session) for run, _ in self.zombies):
            return

        def spec() -> None:
            self.busy(session)
            for member in self.family(session):
                self.busy(member)
            gone = self.family(session)
            for member in gone:
                del self.book.sessions[member]
                self.children.pop(member, None)
            for children in self.children.values():
                children[:] = [child for child in children if child not in gone]
            self.last = {s: row for s, row in self.last.items() if s not in gone}

        self.now(self.hand(agent), "delete_session", {"session_id": session}, spec)

    def free(self, agent: str, session: str) -> None:
        def spec() -> bool:
            self.busy(session)
            held: bool = self.book.sessions[session]["quarantined"]
            if held:
                self.book.sessions[session] |= {"quarantined": False, "recoveries": 0, "owner": None}
            return held

        self.now(self.hand(agent), "free_session", {"session_id": session}, spec)

    @precondition(lambda self: any(self.of_the_dead(s) for s in self.book.sessions))
    @rule(agent=AGENTS, session=SESSIONS)
    def withdraw(self, agent: str, session: str) -> None:
        """Take the oldest input of a dead sender out of the inbox."""
        session = self.name(session)
        if not self.of_the_dead(session) or self.book.lines.get(session):
            return
        assert self.shelf is not None
        at = self.book.sessions[session]["waiting"].index(self.of_the_dead(session)[0])
        number = self.shelf.waiting_numbers(session)[at]

        def spec() -> bool:
            del self.book.sessions[session]["waiting"][at]
            return True

        self.now(self.hand(agent), "withdraw_input", {"session_id": session, "number": number}, spec)

    def unattended(self, s: str) -> bool:
        """Whether input of the dead waits that a turn could begin with."""
        row = self.book.sessions[s]
        shut = row["closed"] or row["archived"] or row["quarantined"] or self.book.open_calls(s)
        return s not in self.book.running and not shut and bool(self.of_the_dead(s))

    def of_the_dead(self, s: str) -> list[Any]:
        waiting = self.book.sessions[s]["waiting"] if s in self.book.sessions else []
        return [one for one in waiting if not self.alive(one["sender"])]

    def name(self, session: str) -> str:
        return self.second if session == "second" else session

    def any_turns(self) -> bool:
        return any(row["turns"] for row in self.book.sessions.values())

    def any_dead(self) -> bool:
        rows = self.book.sessions
        return any(self.of_the_dead(s) or (rows[s]["owner"] and s not in self.book.running) for s in rows)

    def any_open(self) -> bool:
        return any(self.book.open_calls(s) for s in self.book.sessions)

    def any_calls(self) -> bool:
        return any(session["calls"] for session in self.book.sessions.values())

    # Turns.

    @precondition(lambda self: self.at_rest())
    @rule(
        agent=AGENTS,
        pick=PICK,
        request=st.sampled_from([None, None, "r1", "r2"]),
        on_pending=st.sampled_from(["raise", "resume", "abort"]),
        dies=DIES,
    )
    def send_first(self, agent: str, pick: int, request: str | None, on_pending: str, dies: int | None) -> None:
        self.send(agent, self.at_rest()[pick % len(self.at_rest())], request, on_pending, "wait", dies)

    def at_rest(self) -> list[str]:
        """Sessions that nobody is in; those that take input first."""
        rows = self.book.sessions
        resting = [s for s in rows if s not in self.book.lines]
        return sorted(resting, key=lambda s: rows[s]["closed"] or rows[s]["archived"])

    @precondition(lambda self: self.book.lines)
    @rule(
        pick=PICK,
        request=st.sampled_from([None, None, "r1", "r2"]),
        on_pending=st.sampled_from(["raise", "resume", "abort"]),
        if_busy=st.sampled_from(["wait", "wait", "steer", "steer", "raise"]),
        dies=DIES,
    )
    def send_more(self, pick: int, request: str | None, on_pending: str, if_busy: str, dies: int | None) -> None:
        """To a session that somebody is in, from the same process."""
        s = list(self.book.lines)[pick % len(self.book.lines)]
        self.send(self.book.lines[s][0].hand.name, s, request, on_pending, if_busy, dies)

    @precondition(lambda self: self.book.lines)
    @rule(
        pick=PICK,
        on_pending=st.sampled_from(["raise", "resume", "abort"]),
        if_busy=st.sampled_from(["wait", "steer", "raise"]),
    )
    def send_across(self, pick: int, on_pending: str, if_busy: str) -> None:
        """To a session that somebody is in, from another process."""
        s = list(self.book.lines)[pick % len(self.book.lines)]
        other = "B" if self.book.lines[s][0].hand.name == "A" else "A"
        self.send(other, s, None, on_pending, if_busy, None)

    def send(
        self, agent: str, session: str, request: str | None, on_pending: str, if_busy: str, dies: int | None
    ) -> None:
        hand = self.hand(agent)
        line = self.book.lines.get(session, [])
        if not self.free_of_zombies(hand, session) or not self.may_line_up(hand, line):
            return None
        text = f"input {self.numbered + 1}"
        given = {"user_input": text, "session_id": session, "request_id": request, "on_pending": on_pending,
                 "if_busy": if_busy}  # fmt: skip
        if session not in self.book.sessions:
            return self.now(hand, "send", given, lambda: self.busy(session))
        waiting = self.book.sessions[session]["waiting"]
        known = request is not None and (
            self.book.known(session, request) is not None or any(one["request_id"] == request for one in waiting)
        )
        if line and if_busy == "raise":
            return self.now(hand, "send", given, lambda: self.busy(session))
        if line and any(one["request_id"] == request is not None for one in waiting):
            return None
        op = self.op(hand, session, "send")
        if line and not known:
            try:
                self.book.takes_input(session)
            except Refused:
                return None
            self.book.enqueue(op, text, if_busy, request)
        self.statistics["queued" if line else "sent"] += 1
        self.begin(op, given, self.book.send(op, text, request, on_pending), dies)
        return None

    def may_line_up(self, hand: Hand, line: Sequence[Op]) -> bool:
        """Who waits in one process waits in a known order; across processes only one may wait."""
        return (len(line) <= 1 and not (line and line[0].parent)) or all(
            op.hand is hand and not op.parent for op in line
        )

    def op(self, hand: Hand, session: str, kind: str) -> Op:
        self.numbered += 1
        return Op(self.numbered, hand, session, kind)

    def begin(self, op: Op, given: dict[str, Any], steps: Generator[None, None, Any], dies: int | None) -> None:
        assert self.shelf is not None
        before = self.shelf.dump()
        waited = bool(self.book.lines.get(op.session))
        self.book.enter(op, steps)
        self.arm(op.hand, dies)
        op.hand.tell(op=op.number, do=op.kind, **{"with": given})
        refused = [said[4] for said in self.book.expected if said[:4] == ("op", op.hand.name, op.number, "failed")]
        self.settle(op.hand if dies else None)
        if refused and op.hand.alive and refused[0] not in ("session.quarantined",) and not waited:
            assert self.shelf.dump() == before, f"{op} was refused with {refused[0]}, and changed something"

    @precondition(lambda self: self.any_turns() and self.at_rest())
    @rule(
        agent=AGENTS,
        session=SESSIONS,
        in_doubt=st.sampled_from([None, "report", "retry", "ask"]),
        decisions=st.lists(st.sampled_from(["retry", "report", "abort"]), max_size=2),
        dies=DIES,
    )
    def resume(self, agent: str, session: str, in_doubt: str | None, decisions: list[str], dies: int | None) -> None:
        session = self.name(session)
        hand = self.hand(agent)
        if not self.free_of_zombies(hand, session):
            return None
        calls = self.book.open_calls(session) if session in self.book.sessions else []
        decided = dict(zip(calls, decisions, strict=False))
        given = {"session_id": session, "in_doubt": in_doubt, "decisions": decided, "if_busy": "raise"}
        if session not in self.book.sessions or self.book.lines.get(session):
            return self.now(hand, "resume", given, lambda: self.busy(session))
        op = self.op(hand, session, "resume")
        policy = in_doubt or self.config["in_doubt"]
        return self.begin(op, given, self.book.resume(op, decided, policy, self.alive), dies)

    @precondition(lambda self: self.any_dead())
    @rule(
        agent=AGENTS,
        policy=st.sampled_from(
            ["report", "abort", "resume", "resume", {"*": "resume", "pay": "report"}, {"*": "resume", "look": "abort"}]
        ),
        dies=DIES,
    )
    def recover(self, agent: str, policy: Any, dies: int | None) -> None:
        hand = self.hand(agent)
        book = self.book
        words = {"*": policy} if isinstance(policy, str) else policy
        orphans = [
            s for s, row in book.sessions.items()
            if s not in book.running and row["turns"] and row["turns"][-1]["state"] in LIVE and row["owner"]
        ]  # fmt: skip
        found = dict.fromkeys(orphans)
        if words["*"] == "resume":
            found |= dict.fromkeys(s for s in book.sessions if self.unattended(s))
        if any(not self.free_of_zombies(hand, s) for s in found):
            return
        entries: list[Any] = []
        parent = self.op(hand, "", "recover")
        later = sorted(
            (s for s in found if book.sessions[s]["recoveries"]), key=lambda s: book.sessions[s]["recoveries"]
        )
        first = [s for s in found if s not in later]
        left = set(first)

        def told(s: str, action: str, error: str | None) -> tuple[Any, ...]:
            return (s, action, tuple(book.open_calls(s)), error)

        def written_down(s: str, way: str) -> None:
            row = book.sessions[s]
            if row["owner"] is None:
                return
            if way == "abort":
                book.abort(s)
            else:
                book.interrupt(s)
                row["owner"] = None
            entries.append(told(s, way, None))

        def ended(op: Op, outcome: Said) -> None:
            s = op.session
            if outcome[0] == "failed" and outcome[1] in ("session.closed", "session.archived"):
                written_down(s, "report")
            elif outcome[0] == "failed":
                action = "quarantine" if outcome[1] == "session.quarantined" else "resume"
                pending = tuple(book.open_calls(s)) if action == "quarantine" else ()
                entries.append((s, action, pending, outcome[1]))
            elif outcome[1] is not None:
                entries.append(told(s, *outcome[1]))
            left.discard(s)
            further()

        def take_up(s: str) -> None:
            names = {book.sessions[s]["calls"][call]["name"] for call in book.open_calls(s)}
            asked = {words.get(name, words["*"]) for name in names} or {words["*"]}
            way = max(asked, key=("resume", "abort", "report").index)
            if way == "resume":
                op = Op(parent.number, hand, s, "orphan", parent=ended)
                book.enter(op, book.orphan(op, self.alive))
            else:
                written_down(s, way)
                left.discard(s)
                further()

        done = False

        def further() -> None:
            nonlocal done
            if left or done:
                return
            if later:
                left.add(later[0])
                take_up(later.pop(0))
                return
            done = True
            book.expected["op", hand.name, parent.number, "done", tuple(sorted(entries, key=repr))] += 1

        for s in first:
            take_up(s)
        further()
        self.arm(hand, dies)
        hand.tell(op=parent.number, do="recover", **{"with": {"policy": policy, "jitter": 0}})
        self.statistics["recovered"] += len(found)
        self.settle(hand if dies else None)

    def asked(self) -> list[Run]:
        return [run for run in [*self.book.running.values()] if run.token is not None]

    @precondition(lambda self: self.asked())
    @rule(pick=PICK, calls=CALLS, dies=DIES)
    def model_calls(self, pick: int, calls: Any, dies: int | None) -> None:
        self.answer(self.asked()[pick % len(self.asked())], calls, dies)

    @precondition(lambda self: self.asked())
    @rule(pick=PICK, answer=ANSWERS, dies=DIES)
    def model_answers(self, pick: int, answer: Any, dies: int | None) -> None:
        run = self.asked()[pick % len(self.asked())]
        self.answer(run, answer, dies)

    def answer(self, run: Run, answer: Any, dies: int | None = None) -> None:
        token = run.token
        self.arm(run.hand, dies)
        if answer == "error":
            run.token = None
            run.hand.tell(answer=token, error=True)
            self.book.end(run, "failed", "failed", "model.server")
        else:
            self.numbered += 1
            calls = []
            if isinstance(answer, list):
                calls = [(f"c{self.numbered}_{n}", *call) for n, call in enumerate(answer)]
            text = f"answer {self.numbered}" if answer == "words" else None if calls else ""
            run.hand.tell(answer=token, text=text, calls=calls)
            self.book.answered(run, text or "", calls)
        self.book.pump(run.session)
        self.settle(run.hand if dies else None)

    def entered(self) -> list[tuple[Run, str]]:
        runs = self.book.running.values()
        return [(run, call) for run in runs for call, token in run.entered.items() if token is not None]

    @precondition(lambda self: self.entered())
    @rule(pick=PICK, raises=st.booleans(), dies=DIES)
    def tool_returns(self, pick: int, raises: bool, dies: int | None) -> None:
        run, call = self.entered()[pick % len(self.entered())]
        self.numbered += 1
        self.arm(run.hand, dies)
        run.hand.tell(answer=run.entered[call], text=f"result {self.numbered}", error=raises)
        self.book.returned(run, call, f"result {self.numbered}", failed=raises)
        self.book.pump(run.session)
        self.settle(run.hand if dies else None)

    @precondition(lambda self: self.zombies)
    @rule()
    def zombie_wakes(self) -> None:
        self.wakes()

    def wakes(self) -> None:
        """What a process that lost its session waited for comes: its next write is refused."""
        run, op = self.zombies.pop()
        self.book.expected["op", run.hand.name, op.number, "failed", "session.epoch_lost"] += 1
        tokens = [run.token] if run.token is not None else list(run.entered.values())
        run.hand.tell(answer=tokens[0], text="too late")
        self.statistics["zombies"] += 1
        self.settle()

    # Stops.

    @precondition(lambda self: self.book.running)
    @rule(
        agent=AGENTS, session=SESSIONS, how=st.sampled_from(["cancel", "stop", "take over: resume", "take over: abort"])
    )
    def interfere(self, agent: str, session: str, how: str) -> None:
        """With a turn that runs: its caller's task is cancelled, somebody asks it to stop, or takes over by force."""
        session = self.name(session)
        line = self.book.lines.get(session)
        if line and how == "cancel":
            self.cancelled(line[0])
        elif line and how == "stop":
            self.stop(agent, session)
        elif line:
            self.take_over("B" if line[0].hand.name == "A" else "A", session, how.rpartition(" ")[2])

    @precondition(lambda self: any(len(line) > 1 for line in self.book.lines.values()))
    @rule(pick=PICK)
    def cancel_waiting(self, pick: int) -> None:
        """The task of a sender that waits is cancelled."""
        waiting = [op for line in self.book.lines.values() for op in line[1:]]
        self.cancelled(waiting[pick % len(waiting)])

    def cancelled(self, op: Op) -> None:
        session = op.session
        line = self.book.lines[session]
        if op.parent is not None:
            return
        if op is line[0]:
            self.book.end(self.book.running[session], "cancelled", "cancelled")
        self.book.withdraw(op)
        self.book.leave(op)
        self.book.expected["op", op.hand.name, op.number, "failed", "cancelled"] += 1
        op.hand.tell(cancel=op.number)
        self.book.pump(session)
        self.statistics["cancelled"] += 1
        self.settle()

    def stop(self, agent: str, session: str) -> None:
        run = self.book.running.get(session)
        if run is None or not self.free_of_zombies(self.hand(agent), session):
            return
        self.numbered += 1
        hand = self.hand(agent)
        self.book.expected["op", hand.name, self.numbered, "done", True] += 1
        hand.tell(op=self.numbered, do="request_stop", **{"with": {"session_id": session}})
        self.book.end(run, "cancelled", "stopped")
        self.book.pump(session)
        self.statistics["stopped"] += 1
        self.settle()

    def take_over(self, agent: str, session: str, how: str) -> None:
        """By force, from a process that lives."""
        run, line = self.book.running.get(session), self.book.lines.get(session, [])
        hand = self.hand(agent)
        if (
            run is None
            or run.hand is hand
            or len(line) != 1
            or line[0].parent
            or not self.free_of_zombies(hand, session)
        ):
            return None
        if self.book.sessions[session]["recoveries"] >= self.config["max_recoveries"]:
            return None
        op = line[0]
        if (
            how == "resume"
            and self.config["tool_drift"] == "refuse"
            and hand.options["tools"] != run.hand.options["tools"]
        ):
            return None
        self.book.leave(op)
        self.book.running.pop(session)
        self.zombies.append((run, op))
        self.statistics["taken over"] += 1
        if how == "abort":
            given = {"session_id": session, "force": True}
            return self.now(hand, "abort_pending", given, lambda: self.book.abort(session))
        mine = self.op(hand, session, "resume")
        given = {"session_id": session, "force": True, "if_busy": "raise"}
        return self.begin(mine, given, self.book.resume(mine, {}, self.config["in_doubt"], self.alive), None)

    # Deaths.

    @precondition(lambda self: self.book.lines or self.any_open())
    @rule(
        agent=AGENTS,
        tools=st.sampled_from(["all", "all", "gone", "changed"]),
        reconcile=st.sampled_from(["done", "not", "unknown"]),
    )
    def kill_and_reopen(self, agent: str, tools: str, reconcile: str) -> None:
        hand = self.hands.get(agent)
        if hand is not None:
            self.statistics["killed"] += 1
            self.host.kill(hand)
            self.buried(hand)
            self.settle()
        self.starts(agent, tools, reconcile)

    def buried(self, hand: Hand) -> None:
        """A process is dead: whatever it was in stays as it was."""
        book = self.book
        self.hands.pop(hand.name)
        self.zombies = [(run, op) for run, op in self.zombies if run.hand is not hand]
        book.running = {s: run for s, run in book.running.items() if run.hand is not hand}
        for s, line in list(book.lines.items()):
            line[:] = [op for op in line if op.hand is not hand]
            if not line:
                del book.lines[s]
        for s in list(book.lines):
            book.pump(s)

    def arm(self, hand: Hand, dies: int | None) -> None:
        if dies and not any(op.hand is not hand for line in self.book.lines.values() for op in line):
            hand.tell(arm=dies)

    def died(self, hand: Hand) -> None:
        """It died by itself, at a point of its own: what was acknowledged is kept, and the file says the rest."""
        assert self.shelf is not None
        own = {op.text for line in self.book.lines.values() for op in line if op.hand is hand}
        for said in self.host.kill(hand):
            if "entered" in said:
                self.entries[said["entered"]] += 1
        self.statistics["died"] += 1
        found = self.shelf.sessions()
        wrong = [problem for s in self.last for problem in kept(s, self.last[s], found.get(s), own)]
        assert not wrong, wrong
        self.book.expected.clear()
        self.book.sessions = found
        self.buried(hand)

    # Hearing.

    def settle(self, armed: Hand | None = None) -> None:
        """Hear all that is expected and nothing else; then look at the file."""
        try:
            self.hears_all(armed)
        except AssertionError as error:
            self.found.append(str(error))
            raise

    def hears_all(self, armed: Hand | None) -> None:
        assert self.shelf is not None
        self.sound = False
        until = time.monotonic() + self.patience
        disarming = False
        while +self.book.expected or self.shelf.sessions() != self.book.sessions or armed is not None:
            done = not +self.book.expected and self.shelf.sessions() == self.book.sessions
            if armed is not None and not disarming and done:
                disarming = True
                armed.tell(arm=0)
            waits = +self.book.expected or disarming
            heard = self.host.hear(list(self.hands.values()), max(0.0, until - time.monotonic()) if waits else 0.004)
            if heard is None:
                assert time.monotonic() < until, self.missing()
                continue
            hand, said = heard
            if not said:
                assert hand is armed, f"agent {hand.name} ended by itself"
                self.died(hand)
                armed = None
            elif "disarmed" in said:
                armed = None
            else:
                self.hear(hand, said)
        self.look()
        self.sound = True
        for run in list(self.book.running.values()):
            self.tell_of_input(run)

    def tell_of_input(self, run: Run) -> None:
        """Wait until a turn knows of what is to steer it: from then on it must take it in at its next boundary."""
        steers = {one["text"] for one in self.book.sessions[run.session]["waiting"] if one["mode"] == "steer"}
        if steers - self.book.steered:
            self.book.steered |= steers
            self.numbered += 1
            self.book.expected["op", run.hand.name, self.numbered, "done", True] += 1
            run.hand.tell(op=self.numbered, do="told_of_input", **{"with": {"session": run.session}})
            self.settle()

    def missing(self) -> str:
        """What did not happen."""
        assert self.shelf is not None
        return f"not heard: {list(+self.book.expected)}; {difference(self.book.sessions, self.shelf.sessions())}"

    def hear(self, hand: Hand, said: dict[str, Any]) -> None:
        if "asked" in said:
            return self.hear_asked(hand, said)
        if "entered" in said:
            self.heard("entered", hand.name, said["entered"], said["attempt"])
            return self.hear_entered(hand, said)
        if "failed" in said:
            key: Said = ("op", hand.name, said["op"], "failed", said["failed"])
            assert (said["failed"] == "session.pending") <= bool(said["calls"]), "pending, and no calls are named"
        else:
            done = said["done"]
            if isinstance(done, dict) and "turn" in done:
                done = (done["turn"], done["status"], done["text"], done["pending"])
            elif isinstance(done, list) and done and isinstance(done[0], list):
                done = sorted(freeze(done), key=repr)
            key = ("op", hand.name, said["op"], "done", freeze(done))
        return self.heard(*key, words=said.get("words", ""))

    def heard(self, *key: Any, words: str = "") -> None:
        assert self.book.expected[key], f"unexpected: {key} {words}; expected: {list(+self.book.expected)}"
        self.book.expected[key] -= 1
        self.book.expected += Counter()

    def hear_asked(self, hand: Hand, said: dict[str, Any]) -> None:
        assert self.shelf is not None
        messages = said["asked"]
        if INSTRUCTIONS in json.loads(messages[0])["content"]:
            self.statistics["summaries"] += 1
            hand.tell(answer=said["number"], text="They talked.")
            return None
        runs = [run for run in self.book.running.values() if run.hand is hand and run.asked and run.token is None]
        for run in runs:
            if messages == self.shelf.shown(run.session):
                still = [one["text"] for one in self.shelf.sessions()[run.session]["waiting"]]
                wrong = self.book.take_steered(run, still)
                assert not wrong, wrong
                assert said["tools"] != self.book.wraps_up(run), "tools are offered until the round limit"
                run.token = said["number"]
                return self.heard("asked", hand.name, run.session)
        shown = {run.session: self.shelf.shown(run.session) for run in runs}
        raise AssertionError(f"agent {hand.name} asked {messages}; the file says {shown}")

    def hear_entered(self, hand: Hand, said: dict[str, Any]) -> None:
        assert self.shelf is not None
        call = said["entered"]
        self.entries[call] += 1
        [row] = [session["calls"][call] for session in self.shelf.sessions().values() if call in session["calls"]]
        assert row["attempt"] == said["attempt"], f"{call} was entered before its start was stored"
        for run in self.book.running.values():
            if call in run.entered:
                run.entered[call] = said["number"]

    def look(self) -> None:
        """The file is what the book says, and it is sound."""
        assert self.shelf is not None
        found = self.shelf.sessions()
        assert found == self.book.sessions, self.missing()
        problems = self.shelf.wrong(whole=not self.hands)
        assert not problems, problems
        for s, info in self.shelf.told().items():
            told = (str(info.state), [call.id for call in info.pending], info.queued, info.recoveries)
            row = self.book.sessions[s]
            assert told == (self.book.state(s), self.book.open_calls(s), len(row["waiting"]), row["recoveries"])
            for call in info.pending:
                running = s in self.book.running
                assert (call.state == "in_doubt") == (row["calls"][call.id]["attempt"] > 0 and not running)
            assert bool(info.pending) == bool(self.shelf.sessions_open(s))
        for row in self.book.sessions.values():
            texts = [said for role, said, _ in row["messages"] if role == "user"] + [w["text"] for w in row["waiting"]]
            assert all(count == 1 for count in Counter(map(str, texts)).values()), f"stored twice: {texts}"
            for call, attempts in ((call, shown["attempt"]) for call, shown in row["calls"].items()):
                assert self.entries[call] <= attempts, f"{call} was entered {self.entries[call]} times"
        numbers = self.shelf.numbers()
        for s, before in self.numbers.items():
            assert s not in numbers or all(a >= b for a, b in zip(numbers[s], before, strict=True)), f"{s} went back"
        self.numbers = numbers
        self.last = copy.deepcopy(found)

    # The end.

    def teardown(self) -> None:
        try:
            if self.shelf is not None and self.sound:
                self.ends()
        finally:
            for hand in list(self.hands.values()):
                self.host.kill(hand)
            if self.shelf is not None:
                self.shelf.close()
            shutil.rmtree(self.folder)

    def ends(self) -> None:
        """Faults off: everything is given up offline, and each session that takes input answers the next one."""
        assert self.shelf is not None
        while self.zombies:
            self.wakes()
        self.book.running.clear()
        self.book.lines.clear()  # all die at once: nobody sees another die
        for hand in list(self.hands.values()):
            self.host.kill(hand)
            self.buried(hand)
        self.look()
        bare = self.starts("Z", None, "unknown")
        for s in list(self.book.sessions):
            self.now(bare, "abort_pending", {"session_id": s}, lambda s=s: self.book.abort(s))  # type: ignore[misc]
        self.numbered += 1
        self.now(bare, "leave", {}, lambda: "left")
        self.host.kill(bare)
        self.buried(bare)
        hand = self.starts("C", "all", "unknown")
        for s, row in self.book.sessions.items():
            if row["closed"] or row["archived"]:
                continue
            waited = [one["text"] for one in row["waiting"]]
            text = f"input {self.numbered + 1}"
            op = self.op(hand, s, "send")
            given = {"user_input": text, "session_id": s}
            self.begin(op, given, self.book.send(op, text, None, "raise"), None)
            for _ in range(ENDS):
                if not self.asked():
                    break
                self.answer(self.asked()[0], "words")
            said = [said for role, said, _ in row["messages"] if role == "user"]
            assert said[-1 - len(waited) :] == [*waited, text], f"{waited} waited, and {said} was taken in"
            assert self.book.state(s) == "idle"
        nothing = {"gates": 0, "running": 0, "turns": 0, "watched": 0, "tasks": 0}
        self.numbered += 1
        hand.tell(op=self.numbered, do="kept", **{"with": {}})
        told = hand.heard(self.patience)
        assert told == {"op": self.numbered, "done": nothing}, told
        with sqlite3.connect(self.path, timeout=0, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
        self.now(hand, "leave", {}, lambda: "left")
        self.statistics["examples"] += 1


def kept(s: str, before: Any, after: Any, own: set[str | None]) -> list[str]:
    """What a death took that had been stored; none of it may be gone."""
    if after is None:
        return [f"session {s} is gone"]
    wrong = []
    size = len(before["messages"])
    if after["messages"][:size] != before["messages"]:
        wrong.append(f"messages of {s} changed: {before['messages']} -> {after['messages']}")
    if after["usage"][: len(before["usage"])] != before["usage"]:
        wrong.append(f"usage of {s} is lost")
    if len(after["turns"]) < len(before["turns"]):
        wrong.append(f"turns of {s} are lost")
    for call, row in before["calls"].items():
        now = after["calls"].get(call)
        if now is None or now["attempt"] < row["attempt"] or (row["settled_by"] and now != row):
            wrong.append(f"call {call} of {s} was {row} and is {now}")
    texts = [said for _, said, _ in after["messages"]] + [one["text"] for one in after["waiting"]]
    gone = [one for one in before["waiting"] if one["text"] not in texts and one["text"] not in own]
    return wrong + [f"{one} of {s} was stored and is gone" for one in gone]


def difference(book: Any, found: Any) -> str:
    """Where the file is not as the book says."""
    lines = [f"sessions: book {sorted(book)}, file {sorted(found)}"] if set(book) != set(found) else []
    for s in book.keys() & found.keys():
        lines += [
            f"{s} {part}:\n  book {book[s][part]}\n  file {found[s][part]}"
            for part in book[s]
            if book[s][part] != found[s][part]
        ]
    return "\n".join(["the file is not as the book says", *lines])


def older(path: Path) -> None:
    """A database as the first migration alone makes it."""
    migrations = migrating.load(migrating.folder("sqlite"))[:1]
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        from power_loop.values import World

        migrating.upgrade(db, path, migrations, World())
    db.close()
