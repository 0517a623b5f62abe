"""Telling agents what to do: a call of the API, or an answer to what they ask."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from typing import Any

from tests.model.book import Op, Refused, Run, Said, freeze
from tests.model.hands import Hand
from tests.model.hearing import Hearing


class Telling(Hearing):
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

    def op(self, hand: Hand, session: str, kind: str) -> Op:
        self.numbered += 1
        return Op(self.numbered, hand, session, kind)

    def begin(self, op: Op, given: dict[str, Any], steps: Generator[None, None, Any], dies: int | None) -> None:
        assert self.shelf is not None
        before = self.shelf.dump()
        waited = bool(self.book.lines.get(op.session))
        known = copy.deepcopy(self.book.sessions)
        self.book.enter(op, steps)
        self.arm(op.hand, dies)
        op.hand.tell(op=op.number, do=op.kind, **{"with": given})
        refused = [said[4] for said in self.book.expected if said[:4] == ("op", op.hand.name, op.number, "failed")]
        self.settle(op.hand if dies else None)
        # It may be refused only after a turn: one that it resumed to clear its way, and that ended at once.
        if refused and op.hand.alive and not waited and self.book.sessions == known:
            assert self.shelf.dump() == before, f"{op} was refused with {refused[0]}, and changed something"

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
