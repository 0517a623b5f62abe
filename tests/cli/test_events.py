"""`power-loop events`: what happened, as lines and as JSON, from a cursor, and followed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from power_loop.cli.exits import Exit
from tests.cli.kit import CRASHED, IDLE, command, environment, run


@pytest.mark.acceptance("G2", "L5")
def test_what_happened_is_shown_from_a_cursor(crashed_db: Path) -> None:
    at = ("--db", str(crashed_db))
    whole = run("events", CRASHED[:7], *at, cwd=crashed_db.parent)
    assert (whole.code, whole.err) == (Exit.OK, "")
    lines = whole.out.splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, len(lines) + 1)]
    assert "TurnBegan" in lines[0]
    assert any("CallsRequested" in line and "(" in line for line in lines)
    rest = run("events", CRASHED, "--after", "2", *at, cwd=crashed_db.parent)
    assert rest.out.splitlines() == lines[2:]
    beyond = run("events", CRASHED, "--after", "99", *at, cwd=crashed_db.parent)
    assert (beyond.code, "[input.invalid]" in beyond.err) == (Exit.USAGE, True)


@pytest.mark.acceptance("G2", "L5")
def test_with_json_each_event_is_a_line(crashed_db: Path) -> None:
    shown = run("events", IDLE, "--json", "--db", str(crashed_db), cwd=crashed_db.parent)
    found = [json.loads(line) for line in shown.out.splitlines()]
    assert [event["number"] for event in found] == list(range(1, len(found) + 1))
    assert found[0]["fact"] == "TurnBegan"
    assert found[0]["session"] == IDLE
    assert json.loads(found[0]["input"][0]["body"])["role"] == "user"
    assert found[-1]["fact"] == "AnswerReceived"
    assert found[-1]["at"].endswith("Z")


def test_what_is_damaged_is_said_in_its_place(crashed_db: Path) -> None:
    with closing(sqlite3.connect(crashed_db)) as db, db:
        db.execute("UPDATE events SET crc = crc + 1 WHERE number = 1")
    shown = run("events", IDLE, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (shown.code, "[store.damaged]" in shown.err) == (Exit.STORE, True)
    assert "damaged" in shown.out.splitlines()[0]
    assert len(shown.out.splitlines()) > 1


@pytest.mark.acceptance("G2", "L5")
def test_followed_it_goes_on_with_what_others_do(crashed_db: Path) -> None:
    at = ("--db", str(crashed_db))
    last = len(run("events", CRASHED, *at, cwd=crashed_db.parent).out.splitlines())
    following = subprocess.Popen(
        command("events", CRASHED, "--after", str(last - 1), "--follow", *at),
        cwd=crashed_db.parent, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with following:
        assert following.stdout is not None
        assert following.stdout.readline().split()[0] == str(last)
        assert run("abort", CRASHED, *at, cwd=crashed_db.parent).code == Exit.OK
        assert "CallsAborted" in following.stdout.readline()
        following.terminate()
