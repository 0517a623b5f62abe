"""What is done to sessions outside turns."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Refused
from tests.model.rules.draws import AGENTS, PICK, SESSIONS
from tests.model.telling import Telling


class ManagesSessions(Telling):
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

    def abort(self, agent: str, session: str) -> None:
        def spec() -> list[str]:
            self.busy(session)
            return self.book.abort(session)

        self.now(self.hand(agent), "abort_pending", {"session_id": session}, spec)

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
