"""What the store's tests share: loops with a scripted model, databases as values, children that are real processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llm_client.scripted import ScriptedLLM, ScriptItem
from power_loop import AgentLoopConfig, StatefulAgentLoop, Tool
from power_loop.store.sqlite import migrating

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "migrations" / "sqlite"

PRELUDE = """
import asyncio, os, signal, sqlite3, sys
from llm_client.scripted import ScriptedLLM, calls, says
from power_loop import *
from power_loop.store.contract import *
"""


def a_loop(
    path: Path, script: Iterable[ScriptItem] = (), *, tools: Iterable[Tool] = (), **settings: Any
) -> StatefulAgentLoop:
    """A loop over a file, with a model that answers from a script."""
    return StatefulAgentLoop(
        llm=ScriptedLLM(script), db_path=path, tools=list(tools), config=AgentLoopConfig(**settings)
    )


def tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found]


def looked(path: Path) -> closing[sqlite3.Connection]:
    """A connection that leaves the files as they are: a reader folds no log in, but leaves its own behind."""
    mode = "ro" if path.with_name(path.name + "-wal").exists() else "rw"
    return closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True))


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with looked(path) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables(connection)
        }


def copied(source: Path, target: Path) -> Path:
    """The database as one file, whatever its log holds."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    return target


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def files(path: Path) -> dict[str, bytes | None]:
    """Everything in the folder of a database, with its bytes."""
    return {
        entry.name: entry.read_bytes() if entry.is_file() and os.access(entry, os.R_OK) else None
        for entry in path.parent.iterdir()
    }


def assert_free(path: Path) -> None:
    """Nobody has left a transaction open: another connection can write at once."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def assert_sound(path: Path) -> None:
    with looked(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Every object of a schema by its name, without comments and layout."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    return {name: normalised(sql) for name, sql in found}


def normalised(sql: str) -> str:
    lines = (line.partition("--")[0] for line in sql.splitlines())
    return " ".join(" ".join(lines).split())


def migrated(where: Path, versions: int | None = None) -> sqlite3.Connection:
    """An empty database in memory, made by the first migrations of a folder."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in list(migrating.load(where))[:versions]:
        for statement in migrating.statements(migration.sql):
            connection.execute(statement)
    return connection


@contextmanager
def child(code: str, *arguments: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A Python process running `code`, with pipes for input and output; killed if the test leaves it behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str], line: str) -> None:
    """Wait until a child has said this."""
    assert process.stdout is not None
    heard = process.stdout.readline().rstrip("\n")
    assert heard == line, f"the child said {heard!r}, not {line!r}"


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def run(code: str, *arguments: object, **options: Any) -> tuple[int, str]:
    """Run a child to its end: its exit code and all it said."""
    with child(code, *arguments, stderr=subprocess.STDOUT, **options) as process:
        said, _ = process.communicate(timeout=60)
        return process.returncode, said


def in_fork(work: Callable[[], None]) -> int:
    """Run `work` in a fork of this process: the exit code, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
