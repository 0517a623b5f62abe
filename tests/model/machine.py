"""What happens to a file of sessions, drawn by Hypothesis, and what must be true after each of it.

The machine is the model and the tools of its agents: nothing they wait for ends before a rule says so. After every rule
everything that the book expects is heard and nothing else, the file is what the book says, and it is sound.
"""

from __future__ import annotations

import shutil
import sqlite3
from typing import Final

from tests.model.rules.deaths import Deaths
from tests.model.rules.sending import Sends
from tests.model.rules.sessions import ManagesSessions
from tests.model.rules.stops import Stops
from tests.model.rules.turns import Answers

ENDS: Final = 30
"""Turns that the end of an example may take at most."""


class Machine(ManagesSessions, Sends, Answers, Stops, Deaths):
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
