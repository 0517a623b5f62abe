"""The calls of the API that take part in turns: generators, run when they are first in their session's line."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from tests.model.book.lines import Lines
from tests.model.book.parts import Op, Refused, Run, Said


class Book(Lines):
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
