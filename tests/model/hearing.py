"""Hearing what agents say: all that the book expects, and nothing else; the death of one, too."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from power_loop.compaction.summary import INSTRUCTIONS
from tests.model.book import Run, Said, freeze
from tests.model.checks import Checks, kept
from tests.model.hands import Hand


class Hearing(Checks):
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
                self.statistics["steered"] += len(self.book.sessions[run.session]["waiting"]) - len(still)
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
