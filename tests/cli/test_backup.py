"""`power-loop backup` and `restore` in real processes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from power_loop.cli.exits import Exit
from tests.cli.kit import CRASHED, IDLE, child_in_payment, contents, one_line, rows, run


def test_a_backup_is_made_beside_a_running_turn_and_restored_after_it(tmp_path: Path) -> None:
    db, safe, ledger = tmp_path / "agent.db", tmp_path / "safe.db", tmp_path / "ledger"
    with child_in_payment(db, CRASHED, ledger) as child:
        made = run("backup", str(safe), "--db", str(db), "--json", cwd=tmp_path)
        assert (made.code, made.err) == (0, "")
        copied = made.json["backup"]
        assert (copied["source"], copied["target"], copied["sessions"], copied["kept"]) == (str(db), str(safe), 1, None)
        refused = run("restore", str(safe), "--db", str(db), "--force", cwd=tmp_path)
        assert (refused.code, refused.out) == (Exit.BUSY, "")
        assert len(one_line(refused.err)) == 1
        assert refused.err.startswith("error: [store.busy] ")
        child.kill()
        child.wait()
    taken = run("restore", str(safe), "--db", str(db), "--force", cwd=tmp_path)
    assert (taken.code, taken.err) == (0, "")
    assert f"kept as {db}.before-restore" in taken.out
    assert "power-loop sessions --attention" in taken.out
    assert rows(db) == rows(safe)
    aborted = run("abort", CRASHED, "--db", str(db), cwd=tmp_path)
    assert (aborted.code, aborted.err) == (0, "")
    assert run("doctor", "--db", str(db), cwd=tmp_path).code == 0


def test_the_line_that_a_backup_says_restores_it(crashed_db: Path) -> None:
    folder = crashed_db.parent
    said = run("backup", "safe.db", "--db", str(crashed_db), cwd=folder)
    assert (said.code, said.err) == (0, "")
    assert "2 sessions" in said.out
    words = said.out.split("power-loop restore ")[1].split()
    before = rows(crashed_db)
    tried = run("restore", *words, "--dry-run", "--force", "--json", cwd=folder)
    assert (tried.code, tried.json["dry_run"]) == (0, True)
    assert not (folder / "agent.db.before-restore").exists()
    done = run("restore", *words, "--force", "--json", cwd=folder)
    assert (done.code, done.json["restored"]) == (0, tried.json["restored"])
    assert rows(crashed_db) == before
    assert run("show", IDLE, "--db", str(crashed_db), cwd=folder).code == 0


@pytest.mark.acceptance("L5", "L7")
@pytest.mark.parametrize(
    ("arguments", "code", "exit_code", "words"),
    [
        (["backup", "there.db"], "store.exists", Exit.STORE, "--force"),
        (["backup", "agent.db"], "store.open", Exit.STORE, "the very same file"),
        (["backup", "no/where.db"], "store.open", Exit.STORE, "create the folder"),
        (["backup"], "usage", Exit.USAGE, "TARGET"),
        (["restore", "there.db"], "store.exists", Exit.STORE, "--force"),
        (["restore", "there.db", "--force"], "store.open", Exit.STORE, "not an SQLite database"),
        (["restore", "there.db", "--force", "--dry-run"], "store.open", Exit.STORE, "not an SQLite database"),
        (["restore", "nothing.db", "--force"], "store.not_found", Exit.STORE, "there is no such file"),
        (["restore", "damaged.db", "--force"], "store.damaged", Exit.STORE, "checksums: 1 of"),
        (["restore"], "usage", Exit.USAGE, "BACKUP"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    crashed_db: Path, arguments: list[str], code: str, exit_code: int, words: str
) -> None:
    folder = crashed_db.parent
    (folder / "there.db").write_text("this is no database" * 500)
    assert run("backup", "damaged.db", "--db", str(crashed_db), cwd=folder).code == 0
    with closing(sqlite3.connect(folder / "damaged.db")) as connection, connection:
        connection.execute("UPDATE usage SET model = 'x' WHERE session = 1")
    before = contents(folder)
    ran = run(*arguments, "--db", str(crashed_db), cwd=folder)
    assert (ran.code, ran.out) == (exit_code, "")
    assert ran.err.startswith(f"error: [{code}] ")
    assert words in ran.err
    assert len(one_line(ran.err)) == 1
    in_json = run(*arguments, "--db", str(crashed_db), "--json", cwd=folder)
    assert (in_json.code, in_json.err, in_json.json["error"]["code"]) == (exit_code, "", code)
    assert contents(folder) == before
