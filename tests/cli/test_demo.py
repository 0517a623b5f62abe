"""`demo`: what it says is true, it says it briefly, and it leaves nothing running."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from power_loop.cli.demo.story import Story
from tests.cli.forks import PATIENCE
from tests.cli.kit import command, environment, run


def processes_with(text: str) -> list[str]:
    """The command lines of this machine's processes that hold a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


@pytest.mark.acceptance("B1", "B2", "L5")
def test_the_demo_shows_a_crash_and_that_nothing_is_lost(tmp_path: Path) -> None:
    ran = run("demo", cwd=tmp_path, TMPDIR=str(tmp_path))
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) <= 45
    database = re.search(r"store +(\S+)", ran.out)
    assert database is not None
    db = Path(database[1])
    assert max(len(line.replace(str(db), "agent.db")) for line in lines) <= 105
    for part in (
        "kill -9 ",
        "SessionPendingError",
        "look_up_invoice  succeeded   finished",
        "send_payment     in doubt    started, no result",
        "write_receipt    requested   never started",
        "send_payment     reported    not run again",
        "write_receipt    succeeded   run now, for the first time",
        "send_payment entered once, 120 EUR left once; write_receipt entered once",
        "ok   nothing ran twice",
        "ok   nothing was skipped",
        "ok   the strict server took every request",
    ):
        assert part in ran.out
    assert "NOT " not in ran.out
    # The file stays, and what is printed for it works.
    with closing(sqlite3.connect(db)) as connection:
        queries = [shlex.split(line, comments=True)[2] for line in lines if line.strip().startswith("sqlite3 ")]
        assert [len(connection.execute(query).fetchall()) > 0 for query in queries] == [True, False]
    show = shlex.split(next(line for line in lines if line.strip().startswith("power-loop show")))
    assert "Pay invoice 17" in run(*show[1:], cwd=tmp_path).out
    assert run("doctor", "--db", str(db), cwd=tmp_path).code == 0
    assert processes_with(str(db.parent)) == []


@pytest.mark.acceptance("B2", "L5")
def test_the_demo_adds_a_session_to_a_database_that_is_there(crashed_db: Path, tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "POWER_LOOP_DB": str(tmp_path / "never.db")}
    ran = run("demo", "--json", "--db", str(crashed_db), cwd=tmp_path, **env)
    assert (ran.code, ran.err) == (0, "")
    told = ran.json
    assert [(call["name"], call["state"]) for call in told["found"]] == [
        ("look_up_invoice", "succeeded"), ("send_payment", "in_doubt"), ("write_receipt", "requested"),
    ]  # fmt: skip
    assert [(call["name"], call["state"]) for call in told["settled"]] == [
        ("look_up_invoice", "succeeded"), ("send_payment", "reported"), ("write_receipt", "succeeded"),
        ("look_up_invoice", "succeeded"),
    ]  # fmt: skip
    assert all(claim["true"] for claim in told["checked"])
    assert len(told["checked"]) == 7
    ledger = Path(told["ledger"]).read_text().splitlines()
    assert sum('"money left"' in line for line in ledger) == 1
    sessions = run("sessions", "--json", "--db", str(crashed_db), cwd=tmp_path).json["sessions"]
    assert (len(sessions), sessions[0]["session_id"]) == (3, told["session_id"])
    assert not (tmp_path / "never.db").exists()


def test_the_demo_without_a_database_does_not_touch_the_usual_one(tmp_path: Path) -> None:
    ran = run("demo", "--json", cwd=tmp_path, TMPDIR=str(tmp_path), POWER_LOOP_DB=str(tmp_path / "mine.db"))
    assert ran.code == 0
    assert not (tmp_path / "mine.db").exists()


def test_the_demo_on_a_bad_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("not a database" * 100)
    ran = run("demo", "--db", str(tmp_path / "other.db"), cwd=tmp_path, TMPDIR=str(tmp_path))
    assert ran.code == 6
    (line,) = ran.err.splitlines()
    assert line.startswith("error: [store.open] ")
    assert "not an SQLite database" in line


def test_the_demo_would_say_so_if_it_were_not_true(tmp_path: Path) -> None:
    """What it checks is what happened: here a payment that ran twice, and a call that never did."""
    with Story(tmp_path / "agent.db", tmp_path / "ledger.jsonl") as story:
        story.crash()
        first, *others = story.ledger.path.read_text().splitlines(keepends=True)
        story.ledger.path.write_text("".join([*others, *others]))
        assert "look_up_invoice" in first
        story.recover()
        wrong = {claim.words for claim in story.claims() if not claim.true}
    assert wrong == {"nothing ran twice", "nothing was skipped"}


def test_ctrl_c_ends_the_demo_and_all_its_processes(tmp_path: Path) -> None:
    env = environment(TMPDIR=str(tmp_path))
    process = subprocess.Popen(
        command("demo"), cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        said = ""
        while "THE CRASH" not in said:
            line = process.stdout.readline()
            assert line, "the demo ended early"
            said += line
        # As a terminal does it: to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    # An interrupt inside Popen itself leaves a pipe that nobody has yet, and Python says so at exit.
    said_last = [line for line in err.splitlines() if not line.startswith("ResourceWarning: unclosed file")]
    assert said_last[-1].startswith("error: [interrupted] ")
    assert processes_with(str(tmp_path)) == []
    url = re.search(r"http://\S+/v1", said)
    assert url is not None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url[0]}/models", timeout=PATIENCE)
