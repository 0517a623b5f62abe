"""What ends a turn before its time: a caller that is cancelled, a request to stop, another that takes over."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Op
from tests.model.rules.draws import AGENTS, PICK, SESSIONS
from tests.model.telling import Telling


class Stops(Telling):
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
