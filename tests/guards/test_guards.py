"""The table of guards is up to date, the script that tries them can fail, and a sample of them matters."""

from __future__ import annotations

import ast
import os
import random
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from power_loop.store.sqlite import migrating
from tests.guards import command
from tests.guards.guard import ROOT, Guard
from tests.guards.table import GUARDS
from tests.guards.trial import Verdict, base, tried

SAMPLE: Final = 4
"""How many guards are tried here; `python -m tests.guards` tries all."""

QUICK: Final = replace(
    next(guard for guard in GUARDS if guard.name == "ledger-table-of-call-moves"), name="quick"
)  # its test needs neither files nor processes


@cache
def source(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def test_there_are_many_and_no_two_have_one_name() -> None:
    assert len(GUARDS) >= 40
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_what_it_replaces_is_there_exactly_once(guard: Guard) -> None:
    without = guard.without(source(guard.file))
    assert without != source(guard.file)
    if guard.file.endswith(".py"):
        compile(without, guard.file, "exec")


@cache
def functions(file: str) -> frozenset[str]:
    found = (node for node in ast.parse(source(file)).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in found)


def test_every_test_that_it_names_is_there() -> None:
    named = {guard.test.partition("[")[0] for guard in GUARDS if guard.needs is None or guard.runs}
    assert sorted(test for test in named if test.partition("::")[2] not in functions(test.partition("::")[0])) == []


class Anything(dict[str, Any]):
    """A value for whatever a statement asks for."""

    def __missing__(self, name: str) -> int:
        return 1


def test_statements_without_them_are_still_statements() -> None:
    """What fails without a guard must fail for its sake, not because the statement cannot be read."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in migrating.load(ROOT / "migrations" / "sqlite"):
            for statement in migrating.statements(migration.sql):
                connection.execute(statement)
        patched = [guard.without(source(guard.file)) for guard in GUARDS if "/sql/" in guard.file]
        assert patched
        for text in patched:
            for part in text.split("-- name: ")[1:]:
                sql = part.partition("\n")[2].strip()
                if not sql.upper().startswith("PRAGMA"):
                    connection.execute(f"EXPLAIN {sql}", Anything())


def test_no_name_is_missing_in_code_without_them(tmp_path: Path) -> None:
    """As above: a `NameError` is no catch."""
    for guard in GUARDS:
        if guard.file.endswith(".py"):
            (tmp_path / f"{guard.name}.py").write_text(guard.without(source(guard.file)), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821,F823", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("guards"))


def test_a_guard_that_matters_is_told_from_one_that_does_not(tree: Path) -> None:
    assert tried(tree, QUICK).verdict is Verdict.CAUGHT
    useless = replace(QUICK, old="the heart of this project", new="a part of this project")
    assert tried(tree, useless).verdict is Verdict.SURVIVED
    assert tried(tree, replace(useless, redundant="it is a comment")).verdict is Verdict.REDUNDANT
    assert tried(tree, replace(QUICK, redundant="it is not")).verdict is Verdict.NEEDED
    assert not Verdict.SURVIVED.good
    assert not Verdict.NEEDED.good


def test_what_cannot_be_tried_is_no_catch(tree: Path) -> None:
    syntax = replace(QUICK, new="if (:\n")
    gone = replace(QUICK, old="a text that is not there")
    nowhere = replace(QUICK, test="tests/engine/test_calls.py::test_nothing")
    for broken in (syntax, gone, nowhere):
        outcome = tried(tree, broken)
        assert outcome.verdict is Verdict.BROKEN
        assert outcome.said
    assert not Verdict.BROKEN.good
    assert tried(tree, replace(QUICK, needs="no-such-program")).verdict is Verdict.WAITING


def test_a_test_that_hangs_is_ended_and_so_is_whatever_it_started(tree: Path, tmp_path: Path) -> None:
    """Without the guard the test begins a process and waits for it for ever; neither outlives the limit."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    waits = f"    import subprocess\n    subprocess.run(['sh', '-c', 'exec > {pipe}; echo here; exec sleep 600'])\n"
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for limit in (3, 10, 60):  # one of them is long enough for the test to begin
            assert tried(tree, replace(QUICK, new=waits + QUICK.old), limit=limit).verdict is Verdict.HUNG
            if said := os.read(reader, 100):
                break
        assert said == b"here\n"
        assert os.read(reader, 100) == b"", "whoever holds the other end still lives"
    finally:
        os.close(reader)


def test_the_command_says_no_if_the_tests_fail_with_every_guard_in_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    never = replace(QUICK, test="tests/engine/test_calls.py::test_nothing")
    assert command.shown([never], jobs=1, limit=30) == 1
    assert "do not pass" in capsys.readouterr().out


def test_the_command_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(guard.name in listed and guard.test in listed for guard in GUARDS)


def drawn() -> list[Guard]:
    """Others whenever the guarded sources change, the same for the same sources."""
    texts = "".join(source(file) for file in sorted({guard.file for guard in GUARDS}))
    ready = [guard for guard in GUARDS if guard.needs is None and guard.redundant is None]
    return random.Random(zlib.crc32(texts.encode())).sample(ready, SAMPLE)


def test_a_sample_of_them_matters(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.shown(drawn(), jobs=2, limit=120)
    assert code == 0, capsys.readouterr().out
