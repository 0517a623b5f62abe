"""Real processes for the tests that end them."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from power_loop.testing import ScriptedServer
from tests.crash import agent

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds; nothing waits so long unless it is broken."""


@dataclass
class Bench:
    """A database, a ledger, a model server, and the processes run over them."""

    database: Path
    ledger: Path
    server: ScriptedServer
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, mode: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.agent", mode, self.database, self.server.url, self.ledger],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, mode: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a process that ends by itself."""
        process = self.start(mode)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def killed_in_second(self, how: signal.Signals = signal.SIGKILL, mode: str = "in a tool") -> tuple[int, str]:
        """End a process while its second call runs; its exit code and errors."""
        process = self.start(mode)
        assert process.stdout is not None
        assert process.stdout.readline() == "in second\n", process.communicate(timeout=PATIENCE)
        process.send_signal(how)
        _, err = process.communicate(timeout=PATIENCE)
        return process.returncode, err

    def sql(self, query: str) -> list[tuple[object, ...]]:
        """As a person with `sqlite3` asks."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def sound(self) -> bool:
        return self.sql("PRAGMA integrity_check") == [("ok",)] and self.sql("PRAGMA foreign_key_check") == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield from _bench(tmp_path)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """What a process left that was killed inside its second call; only to be copied."""
    for bench in _bench(tmp_path_factory.mktemp("killed")):
        assert bench.killed_in_second()[0] == -signal.SIGKILL
        assert agent.entered(bench.ledger) == ["first", "second"]
        yield bench


@pytest.fixture
def killed(left_behind: Bench, tmp_path: Path) -> Iterator[Bench]:
    """A database with the second of three calls in doubt."""
    shutil.copytree(left_behind.database.parent, tmp_path, dirs_exist_ok=True)
    yield from _bench(tmp_path)


def _bench(folder: Path) -> Iterator[Bench]:
    with ScriptedServer(agent.model) as server:
        bench = Bench(folder / "agent.db", folder / "ledger", server)
        yield bench
        for process in bench.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
        assert server.refusals == []
