"""Kills, and what a fresh process does about the dead."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.book import Op, Said
from tests.model.rules.draws import AGENTS, DIES
from tests.model.shelf import LIVE
from tests.model.telling import Telling


class Deaths(Telling):
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
