"""What every rule works on: a file, agents that live, the book, and what can be asked of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final

from hypothesis.stateful import RuleBasedStateMachine

from power_loop import Tool
from tests.model.agent import toolbox
from tests.model.book import Book, Op, Run
from tests.model.hands import PATIENCE, Hand, Host
from tests.model.shelf import Session, Shelf

TOOLS: Final[dict[str, dict[str, Tool]]] = {
    which: {tool.name: tool for tool in toolbox(None, which)} for which in ("all", "gone", "changed")
}


class Stage(RuleBasedStateMachine):
    host: ClassVar[Host]
    fault: ClassVar[str | None] = None
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for what must happen."""
    found: ClassVar[list[str]] = []
    """What was wrong in examples so far; the first is the least disturbed by what Hypothesis tries afterwards."""
    statistics: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.path = self.folder / "agent.db"
        self.hands: dict[str, Hand] = {}
        self.config: dict[str, Any] = {}
        self.book = Book(self.config, TOOLS)
        self.last: dict[str, Session] = {}
        self.second = "s1"
        self.shelf: Shelf | None = None
        self.numbered = 0
        self.entries: Counter[str] = Counter()
        self.children: dict[str, list[str]] = {}
        self.zombies: list[tuple[Run, Op]] = []
        self.numbers: dict[str, tuple[int, int, int]] = {}
        self.sound = True

    def starts(self, name: str, tools: str | None, reconcile: str) -> Hand:
        options = {"path": str(self.path), "config": self.config, "fault": self.fault, "tools": tools}
        self.hands[name] = hand = self.host.start(name, **options, reconcile=reconcile)
        return hand

    def hand(self, name: str) -> Hand:
        return self.hands.get(name) or self.starts(name, "all", "unknown")

    def other(self, hand: Hand) -> str:
        return "B" if hand.name == "A" else "A"

    def alive(self, pid: int) -> bool:
        return any(hand.pid == pid for hand in self.hands.values())

    def name(self, session: str) -> str:
        return self.second if session == "second" else session

    def family(self, s: str) -> list[str]:
        found = [s]
        for member in found:
            found += self.children.get(member, [])
        return found

    def free_of_zombies(self, hand: Hand, s: str) -> bool:
        """Whether a hand is in no turn of a session that it lost and does not know of yet."""
        return not any(run.hand is hand and run.session == s for run, _ in self.zombies)

    def at_rest(self) -> list[str]:
        """Sessions that nobody is in; those that take input first."""
        rows = self.book.sessions
        resting = [s for s in rows if s not in self.book.lines]
        return sorted(resting, key=lambda s: rows[s]["closed"] or rows[s]["archived"])

    def asked(self) -> list[Run]:
        return [run for run in [*self.book.running.values()] if run.token is not None]

    def entered(self) -> list[tuple[Run, str]]:
        runs = self.book.running.values()
        return [(run, call) for run in runs for call, token in run.entered.items() if token is not None]

    def of_the_dead(self, s: str) -> list[Any]:
        waiting = self.book.sessions[s]["waiting"] if s in self.book.sessions else []
        return [one for one in waiting if not self.alive(one["sender"])]

    def orphaned(self, s: str) -> bool:
        """Whether a turn is live whose owner is dead."""
        row = self.book.sessions[s]
        return s not in self.book.running and row["owner"] is not None

    def unattended(self, s: str) -> bool:
        """Whether input of the dead waits that a turn could begin with."""
        row = self.book.sessions[s]
        shut = row["closed"] or row["archived"] or row["quarantined"] or self.book.open_calls(s)
        return s not in self.book.running and not shut and bool(self.of_the_dead(s))

    def any_turns(self) -> bool:
        return any(row["turns"] for row in self.book.sessions.values())

    def any_dead(self) -> bool:
        return any(self.of_the_dead(s) or self.orphaned(s) for s in self.book.sessions)

    def any_open(self) -> bool:
        return any(self.book.open_calls(s) for s in self.book.sessions)

    def any_calls(self) -> bool:
        return any(session["calls"] for session in self.book.sessions.values())
