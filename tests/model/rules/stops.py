"""What ends a turn before its time: a caller that is cancelled, a request to stop, another that takes over."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Op, Run
from tests.model.rules.draws import AGENTS, PICK
from tests.model.telling import Telling


class Stops(Telling):
    @precondition(lambda self: self.book.running)
    @rule(agent=AGENTS, pick=PICK, how=st.sampled_from(["cancel", "stop", "take over: resume", "take over: abort"]))
    def interfere(self, agent: str, pick: int, how: str) -> None:
        """With a turn that runs: its caller's task is cancelled, somebody asks it to stop, or takes over by force."""
        if how == "stop":
            runs = list(self.book.running.values())
        else:
            runs = self.with_callers() if how == "cancel" else self.to_rob()
        if not runs:
            return
        run = runs[pick % len(runs)]
        if how == "cancel":
            self.cancelled(run.op)
        elif how == "stop":
            self.stop(agent, run)
        else:
            self.take_over(run, how.rpartition(" ")[2])

    def with_callers(self) -> list[Run]:
        """Turns that run in a task of their own, not in one of `recover`."""
        return [run for run in self.book.running.values() if run.op.parent is None]

    @precondition(lambda self: self.who_wait())
    @rule(pick=PICK)
    def cancel_waiting(self, pick: int) -> None:
        """The task of a sender that waits is cancelled."""
        waiting = self.who_wait()
        self.cancelled(waiting[pick % len(waiting)])

    def who_wait(self) -> list[Op]:
        return [op for line in self.book.lines.values() for op in line[1:] if op.parent is None]

    def cancelled(self, op: Op) -> None:
        session = op.session
        if op is self.book.lines[session][0]:
            self.book.end(self.book.running[session], "cancelled", "cancelled")
        self.book.withdraw(op)
        self.book.leave(op)
        self.book.expected["op", op.hand.name, op.number, "failed", "cancelled"] += 1
        op.hand.tell(cancel=op.number)
        self.book.pump(session)
        self.statistics["cancelled"] += 1
        self.settle()

    def stop(self, agent: str, run: Run) -> None:
        session, hand = run.session, self.hand(agent)
        if not self.free_of_zombies(hand, session):
            return
        self.numbered += 1
        self.book.expected["op", hand.name, self.numbered, "done", True] += 1
        hand.tell(op=self.numbered, do="request_stop", **{"with": {"session_id": session}})
        self.book.end(run, "cancelled", "stopped")
        self.book.pump(session)
        self.statistics["stopped"] += 1
        self.settle()

    def take_over(self, run: Run, how: str) -> None:
        """By force, from a process that lives."""
        session, op = run.session, run.op
        hand = self.hand(self.other(run.hand))
        refuses = self.config["tool_drift"] == "refuse" and hand.options["tools"] != run.hand.options["tools"]
        if not self.free_of_zombies(hand, session) or (how == "resume" and refuses):
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

    def to_rob(self) -> list[Run]:
        """Turns that nobody waits for, of sessions that may be taken up once more."""
        rows, most = self.book.sessions, self.config["max_recoveries"]
        runs = [run for run in self.with_callers() if len(self.book.lines[run.session]) == 1]
        return [run for run in runs if rows[run.session]["recoveries"] < most and self.on_its_own_account(run)]

    def on_its_own_account(self, run: Run) -> bool:
        """Whether who runs a turn has no input of its own in line behind it, nor one that it took in on the way."""
        session = self.book.sessions[run.session]
        number = len(session["turns"])
        first = next((said for role, said, turn in session["messages"] if (role, turn) == ("user", number)), None)
        begun = session["turns"][-1]["origin"] == number
        return run.op.text is None or (begun and first == run.op.text)

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
