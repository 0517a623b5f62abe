"""A scenario in one process of a case: its loop, its work, and what the process saw of itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from power_loop.stateful_loop import StatefulAgentLoop
from power_loop.testing.crash.client import Client
from power_loop.testing.crash.evidence import Rows, rows_of
from power_loop.testing.crash.place import lines
from power_loop.testing.crash.scenario import Scenario


@dataclass
class Report:
    """What a process saw of itself."""

    problems: list[str] = field(default_factory=list)
    finished: bool = False
    witness: dict[str, Any] = field(default_factory=dict)
    """The sessions as the API shows them at the end."""

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


@dataclass(frozen=True)
class App:
    """A scenario in one process of a case."""

    scenario: Scenario
    client: Client
    report: Report

    def loop(self) -> StatefulAgentLoop:
        return self.client.instrumented(self.scenario.build(self.client))

    def bare(self) -> StatefulAgentLoop:
        return self.client.bare(self.scenario.config)

    async def work(self, loop: StatefulAgentLoop) -> None:
        await self.scenario.work(self.client, loop)

    async def work_of_all(self, loop: StatefulAgentLoop, on_pending: str) -> None:
        """All that was not acknowledged yet, whichever process it was of, under the same request ids."""
        for number in range(self.scenario.processes):
            await self.scenario.work(self.client.as_number(number, on_pending=on_pending), loop)

    def requests(self) -> int:
        """How often this process has asked the model."""
        return sum(
            line["event"] == "asked" and line["by"] == self.client.process for line in lines(self.client.place.asked)
        )

    def stored(self) -> Rows:
        """All rows as they are now, read beside the live loop."""
        with closing(sqlite3.Connection(f"file:{self.client.db_path}?mode=ro", uri=True)) as connection:
            return rows_of(connection)
