"""What the CLI tests share: the real command in a real process, and files in known states."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.cli.forks import Forks

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

CRASHED, IDLE = "crashed-0001", "idle-0001"
"""The sessions of the file that `crashed_db` makes."""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value that is all of the output."""
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """An environment without anybody's keys."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "PYTHONUTF8": "1", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "power_loop", *arguments]


@cache
def _forks() -> Forks:
    forks = Forks(environment()).__enter__()
    atexit.register(forks.__exit__, None, None, None)
    return forks


def run(*arguments: str, cwd: Path, stdin: str = "", **env: str) -> Ran:
    """The command in a process of its own; see `forks`."""
    done = _forks().run(arguments, cwd, stdin, environment(**env))
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def child_in_payment(db: Path, session: str, ledger: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose turn is inside `send_payment`, until it gets a line or is killed."""
    env = environment(LEDGER=str(ledger), STAY_IN_PAYMENT="yes")
    process = subprocess.Popen(
        [sys.executable, str(HERE / "agent_child.py"), str(db), session],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "in send_payment\n"
            yield process
        finally:
            process.kill()


def copied(db: Path, to: Path) -> Path:
    """A database that nobody has open, with its write-ahead log, elsewhere."""
    to.mkdir(exist_ok=True)
    for file in (db, db.with_name(db.name + "-wal")):
        if file.exists():
            shutil.copy2(file, to / file.name)
    return to / db.name


def ledger_of(path: Path) -> list[str]:
    """The names of the tools that ran, in order."""
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that belongs to a user: not what SQLite keeps beside a file it reads."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(("-wal", "-shm"))
    }


def rows(db: Path) -> list[str]:
    """All that is stored, whether it is in the file already or still in its write-ahead log."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def one_line(text: str) -> Sequence[str]:
    """The lines of an error message, which is to be one."""
    return text.splitlines()
