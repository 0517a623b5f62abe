"""`doctor` finds and explains what is wrong with a file, and never makes it worse."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from power_loop.store.sqlite.doctor.files import sqlite_version
from power_loop.store.sqlite.doctor.findings import Grade
from tests.cli.kit import CRASHED, IDLE, one_line, run

Damage = Callable[[Path], None]


def examined(db: Path, code: int) -> dict[str, Any]:
    """The checks by name."""
    ran = run("doctor", "--json", "--db", str(db), cwd=db.parent)
    assert (ran.code, ran.err) == (code, "")
    assert ran.json["healthy"] is (code == 0)
    return {check["name"]: check for check in ran.json["checks"]}


def settled(db: Path) -> None:
    """Everything in the file itself, so that its bytes can be damaged."""
    with closing(sqlite3.connect(db)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy


def sql(*statements: str) -> Damage:
    """By another hand, which keeps no rule of ours."""

    def damage(db: Path) -> None:
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                assert connection.execute(statement).rowcount != 0

    return damage


def overwrite(name: str) -> Damage:
    """The first page of a table or an index."""

    def damage(db: Path) -> None:
        settled(db)
        raw = bytearray(db.read_bytes())
        with closing(sqlite3.connect(db)) as connection:
            (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        raw[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        db.write_bytes(raw)

    return damage


def flip(text: bytes) -> Damage:
    """One bit of a stored text, in every place of the file where it stands."""

    def damage(db: Path) -> None:
        settled(db)
        raw = db.read_bytes()
        assert text in raw
        db.write_bytes(raw.replace(text, bytes([text[0] ^ 1]) + text[1:]))

    return damage


def test_a_sound_file_has_nothing_bad(crashed_db: Path) -> None:
    checks = examined(crashed_db, 0)
    assert list(checks) == ["opens", "sqlite", "filesystem", "wal", "permissions", "journal", "synchronous", "schema",
                            "integrity", "foreign_keys", "checksums", "consistency", "owners", "attention"]  # fmt: skip
    assert {name for name, check in checks.items() if check["grade"] == "warn"} <= {"sqlite", "owners", "attention"}
    # One session idle: itself, turn, 2 messages, usage. One cut off: itself, turn, 4 messages, 3 calls, usage.
    # And of every commit its events: two and three.
    assert checks["checksums"]["words"] == "all 20 rows are what was written"
    assert [spot["session"] for spot in checks["attention"]["spots"]] == [CRASHED]
    assert "2 open call(s)" in checks["attention"]["spots"][0]["what"]
    assert [spot["session"] for spot in checks["owners"]["spots"]] == [CRASHED]
    assert "power-loop pending" in checks["attention"]["way_out"]


@pytest.mark.acceptance("A9", "L2")
def test_what_is_sound_stays_readable(crashed_db: Path) -> None:
    flip(b"Good morning!")(crashed_db)
    shown = run("show", IDLE, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (shown.code, shown.err) == (0, "")
    assert "Hello there" in shown.out
    assert "ood morning!" not in shown.out
    assert "   2  damaged" in shown.out
    found = run("show", IDLE, "--json", "--db", str(crashed_db), cwd=crashed_db.parent).json
    assert [message["state"] for message in found["messages"]] == ["active", "damaged"]
    assert found["messages"][1]["message"] is None
    assert len(found["damage"]) == 1
    assert run("show", CRASHED, "--json", "--db", str(crashed_db), cwd=crashed_db.parent).json["damage"] == []


@pytest.mark.acceptance("A9", "L1")
def test_one_damaged_session_keeps_no_other_from_being_listed(crashed_db: Path) -> None:
    sql("UPDATE sessions SET metadata = '{}' WHERE key = 1")(crashed_db)
    ran = run("sessions", "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (ran.code, ran.err) == (0, "")
    _, first, second, *_ = ran.out.splitlines()
    assert first.split()[:2] == [CRASHED, "interrupted_in_tools"]
    assert second.split()[:2] == [IDLE, "damaged"]
    found = run("sessions", "--json", "--db", str(crashed_db), cwd=crashed_db.parent).json
    assert [error["session_id"] for error in found["damaged"]] == [IDLE]
    assert found["damaged"][0]["code"] == "store.damaged"
    one = run("show", IDLE, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (one.code, one.err.split()[1], len(one_line(one.err))) == (6, "[store.damaged]", 1)


@pytest.mark.acceptance("A9", "L2")
@pytest.mark.parametrize("table", ["calls SET arguments = '{}'", "usage SET model = 'x'", "turns SET owner = 'x'"])
def test_a_transcript_is_shown_without_what_is_damaged(crashed_db: Path, table: str) -> None:
    sql(f"UPDATE {table}")(crashed_db)
    ran = run("show", CRASHED, "--json", "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.json["messages"]) == 4
    assert ran.json["damage"]
    assert "damaged: " in run("show", CRASHED, "--db", str(crashed_db), cwd=crashed_db.parent).out


@pytest.mark.acceptance("A7", "L5")
def test_a_damaged_page_is_a_finding_in_every_check_that_meets_it(crashed_db: Path) -> None:
    overwrite("calls")(crashed_db)
    checks = examined(crashed_db, 8)
    assert checks["integrity"]["grade"] == "bad"
    assert ".recover" in checks["integrity"]["way_out"]
    assert checks["checksums"]["grade"] == "bad"
    assert checks["schema"]["grade"] == "ok"
    # What does not stand on that page can still be read.
    ran = run("show", IDLE, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert "Hello there" in ran.out or ran.code == 6


def test_a_file_that_others_may_read_is_a_warning_with_the_command_that_closes_it(crashed_db: Path) -> None:
    crashed_db.chmod(0o644)
    check = examined(crashed_db, 0)["permissions"]
    assert check["grade"] == "warn"
    assert check["way_out"].startswith(f"chmod go= {crashed_db}")
    assert os.system(check["way_out"]) == 0
    assert examined(crashed_db, 0)["permissions"]["grade"] == "ok"


@pytest.mark.parametrize(
    ("version", "grade"),
    [
        ((3, 6, 23), Grade.OK),
        ((3, 7, 0), Grade.WARN),
        ((3, 40, 1), Grade.WARN),
        ((3, 44, 5), Grade.WARN),
        ((3, 44, 6), Grade.OK),
        ((3, 45, 0), Grade.WARN),
        ((3, 50, 6), Grade.WARN),
        ((3, 50, 7), Grade.OK),
        ((3, 51, 2), Grade.WARN),
        ((3, 51, 3), Grade.OK),
        ((3, 53, 0), Grade.OK),
    ],
)
def test_the_wal_reset_bug_is_told_by_version(version: tuple[int, ...], grade: Grade) -> None:
    assert sqlite_version(version).grade is grade
