"""Inputs, and going on with what was cut off."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Op, Refused
from tests.model.hands import Hand
from tests.model.rules.draws import AGENTS, DIES, PICK, SESSIONS
from tests.model.telling import Telling


class Sends(Telling):
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
        self.send(self.other(self.book.lines[s][0].hand), s, None, on_pending, if_busy, None)

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
