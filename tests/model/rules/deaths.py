"""Kills, and what a fresh process does about the dead."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Recovery
from tests.model.rules.draws import AGENTS, DIES
from tests.model.telling import Telling


class Deaths(Telling):
    @precondition(lambda self: self.book.lines or self.any_open())
    @rule(
        agent=AGENTS,
        tools=st.sampled_from(["all", "all", "gone", "changed"]),
        reconcile=st.sampled_from(["done", "not", "unknown"]),
        recovers=st.sampled_from([None, None, "resume"]),
    )
    def kill_and_reopen(self, agent: str, tools: str, reconcile: str, recovers: str | None) -> None:
        """A process is killed; the next one may do at once what an app does when it starts."""
        hand = self.hands.get(agent)
        if hand is not None:
            self.statistics["killed"] += 1
            self.host.kill(hand)
            self.buried(hand)
            self.settle()
        self.starts(agent, tools, reconcile)
        if recovers is not None and self.any_dead():
            self.recover(agent, recovers, None)

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
        words = {"*": policy} if isinstance(policy, str) else policy
        found = dict.fromkeys(s for s in self.book.sessions if self.orphaned(s))
        if words["*"] == "resume":
            found |= dict.fromkeys(s for s in self.book.sessions if self.unattended(s))
        if any(not self.free_of_zombies(hand, s) for s in found):
            return
        recovery = Recovery(self.book, self.op(hand, "", "recover"), words, self.alive)
        recovery.begin(list(found))
        self.arm(hand, dies)
        hand.tell(op=recovery.op.number, do="recover", **{"with": {"policy": policy, "jitter": 0}})
        self.statistics["recovered"] += len(found)
        self.settle(hand if dies else None)
