"""What happens to a file of sessions, drawn by Hypothesis, and what must be true after each of it.

The machine is the model and the tools of its agents: nothing they wait for ends before a rule says so. After every rule
everything that the book expects is heard and nothing else, the file is what the book says, and it is sound.
"""

from __future__ import annotations

import copy
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize

from power_loop.store.sqlite import migrating
from power_loop.values import World
from tests.model.book import Book
from tests.model.hands import ROOT
from tests.model.rules.deaths import Deaths
from tests.model.rules.sending import Sends
from tests.model.rules.sessions import ManagesSessions
from tests.model.rules.stops import Stops
from tests.model.rules.turns import Answers
from tests.model.shelf import Shelf
from tests.model.stage import TOOLS

ENDS: Final = 30
"""Turns that the end of an example may take at most."""


class Machine(ManagesSessions, Sends, Answers, Stops, Deaths):
    @initialize(
        in_doubt=st.sampled_from(["report", "retry", "ask"]),
        drift=st.sampled_from(["report", "report", "refuse", "accept"]),
        recoveries=st.integers(1, 3),
        rounds=st.integers(1, 4),
        window=st.sampled_from([128_000, 256, 600]),
        begin=st.sampled_from(["new", "new", "new", "migration 1", "schema_0001.db"]),
    )
    def begins(self, in_doubt: str, drift: str, recoveries: int, rounds: int, window: int, begin: str) -> None:
        self.config = {
            "in_doubt": in_doubt, "tool_drift": drift, "max_recoveries": recoveries, "max_rounds": rounds,
            "context_window": window, "synchronous": "NORMAL",
        }  # fmt: skip
        if begin == "migration 1":
            older(self.path)
        elif begin != "new":
            shutil.copyfile(ROOT / "tests" / "corpus" / begin, self.path)
        self.book = Book(self.config, TOOLS)
        self.starts("A", "all", "unknown")
        self.shelf = Shelf(self.path)
        self.book.sessions = self.shelf.sessions()
        self.last = copy.deepcopy(self.book.sessions)
        self.create("A", "s0", None)
        self.second = "in tools" if begin == "schema_0001.db" else "s1"

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


def older(path: Path) -> None:
    """A database as the first migration alone makes it."""
    migrations = migrating.load(migrating.folder("sqlite"))[:1]
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        migrating.upgrade(db, path, migrations, World())
    db.close()
