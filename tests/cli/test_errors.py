"""Bad input: one line that says what to do, a stable code, a stable exit code, and nothing written."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from power_loop.cli.exits import Exit
from tests.cli.kit import CRASHED, IDLE, ROOT, command, contents, environment, rows, run

TWICE = ["--tools", "agent_tools:all_tools", "--tools", "agent_tools:send_payment"]
INTERFACE = [
    "sessions", "show", "pending", "resume", "abort", "resolve", "free", "withdraw", "doctor", "backup", "restore",
    "chat", "demo",
]  # fmt: skip


@pytest.mark.acceptance("L5", "L7")
@pytest.mark.parametrize(
    ("arguments", "code", "exit_code", "words"),
    [
        (["show", "nobody"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["pending", "nobody"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["abort", "nobody"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["resume", "nobody"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["free", "nobody"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["withdraw", "nobody", "1"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["withdraw", CRASHED, "one"], "usage", Exit.USAGE, "one"),
        (["resolve", "nobody", "call_1", "--retry"], "session.not_found", Exit.NOT_FOUND, "power-loop sessions"),
        (["show", ""], "input.invalid", Exit.USAGE, "1 to 200"),
        (["resolve", CRASHED, "call_9", "--retry"], "call.not_found", Exit.NOT_FOUND, "call_1, call_2"),
        (["resolve", CRASHED, "call_2", "--retry"], "call.settled", Exit.WAITS, "it never ran"),
        (["resolve", CRASHED, "call_0", "--result", "x"], "call.settled", Exit.WAITS, "nothing is left to resolve"),
        (["resolve", CRASHED, "call_1", "--error", " "], "input.invalid", Exit.USAGE, "say in words"),
        (["resolve", CRASHED, "call_1"], "usage", Exit.USAGE, "exactly one of"),
        (["resolve", CRASHED, "call_1", "--retry", "--report"], "usage", Exit.USAGE, "exactly one of"),
        (["abort", CRASHED, "--reason", ""], "input.invalid", Exit.USAGE, "reason"),
        (["abort", CRASHED, "--reason", "x" * 201], "input.invalid", Exit.USAGE, "201"),
        (["resume", CRASHED, "--decide", "call_1"], "usage", Exit.USAGE, "CALL=WORD"),
        (["resume", CRASHED, "--decide", "call_1=maybe"], "usage", Exit.USAGE, "retry, report, abort"),
        (["resume", CRASHED, "--in-doubt", "maybe"], "usage", Exit.USAGE, "maybe"),
        (["resume", CRASHED], "config.missing", Exit.USAGE, "--without-tools"),
        (["resume", CRASHED, "--without-tools"], "model.settings", Exit.MODEL, "POWER_LOOP_API_KEY"),
        (["resume", CRASHED, "--tools", "nowhere"], "tool.invalid", Exit.USAGE, "MODULE:NAME"),
        (["resume", CRASHED, "--tools", "no_such_module:x"], "tool.invalid", Exit.USAGE, "no_such_module"),
        (["resume", CRASHED, "--tools", "agent_tools:x"], "tool.invalid", Exit.USAGE, "check the name"),
        (["resume", CRASHED, "--tools", "agent_tools:no_tools"], "tool.invalid", Exit.USAGE, "is a str"),
        (["chat", *TWICE], "tool.invalid", Exit.USAGE, "registered"),
        (["chat"], "model.settings", Exit.MODEL, "--model NAME"),
        (["chat", "--session", IDLE, "--system", "x"], "input.invalid", Exit.USAGE, "a session keeps"),
        (["sessions", "--limit", "0"], "usage", Exit.USAGE, "--limit"),
        (["sessions", "--state", "odd"], "usage", Exit.USAGE, "interrupted_in_tools"),
        (["frobnicate"], "usage", Exit.USAGE, "frobnicate"),
        (["show"], "usage", Exit.USAGE, "SESSION"),
        (["show", IDLE, "--nothing"], "usage", Exit.USAGE, "--nothing"),
    ],
)  # fmt: skip
def test_bad_input(crashed_db: Path, arguments: list[str], code: str, exit_code: int, words: str) -> None:
    before = rows(crashed_db)
    ran = run(*arguments, "--db", str(crashed_db), cwd=crashed_db.parent, stdin="hello\n")
    assert (ran.code, ran.out) == (exit_code, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: [{code}] ")
    assert words in line
    in_json = run(*arguments, "--db", str(crashed_db), "--json", cwd=crashed_db.parent, stdin="hello\n")
    assert (in_json.code, in_json.err) == (exit_code, "")
    assert in_json.json["error"]["code"] == code
    assert words in in_json.json["error"]["message"]
    assert rows(crashed_db) == before


@pytest.mark.acceptance("L1")
def test_a_prefix_of_several_sessions_is_refused(crashed_db: Path) -> None:
    with closing(sqlite3.connect(crashed_db)) as connection, connection:
        rows = connection.execute("SELECT id, crc FROM sessions ORDER BY key").fetchall()
        for id, crc in rows:
            connection.execute(
                "INSERT INTO sessions (id, created_at, updated_at, crc) VALUES (?, 0, 0, ?)", (f"{id}-b", crc)
            )
    ran = run("pending", "crashed", "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"error: [session.ambiguous] 'crashed' begins several ids ({CRASHED}, {CRASHED}-b)")
    whole = run("pending", CRASHED, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (whole.code, whole.err) == (0, "")


def _directory(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("this is no database, whatever its name says" * 100)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA application_id = 1347178320; PRAGMA user_version = 9999")


def _other_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """PRAGMA application_id = 1347178320; PRAGMA user_version = 1;
            CREATE TABLE schema_migrations (version INTEGER, name TEXT, checksum TEXT, applied_at INTEGER);
            INSERT INTO schema_migrations VALUES (1, 'sessions', 'of another release', 0)"""
        )


def _missing(path: Path) -> None:
    assert not path.exists()


BAD_FILES: list[tuple[Callable[[Path], None], str, str]] = [
    (_missing, "store.not_found", "there is no such file"),
    (_directory, "store.open", "this is a directory"),
    (_empty, "store.empty_file", "restore it from a backup"),
    (_text, "store.open", "not an SQLite database"),
    (_foreign, "store.foreign", "another application's database"),
    (_newer, "store.schema_newer", "upgrade power-loop"),
    (_other_schema, "store.schema_changed", "the release that made it"),
]


@pytest.mark.acceptance("A7", "A3", "L5")
@pytest.mark.parametrize(("make", "code", "words"), BAD_FILES)
def test_bad_files(tmp_path: Path, make: Callable[[Path], None], code: str, words: str) -> None:
    path = tmp_path / "agent.db"
    make(path)
    before = contents(tmp_path)
    for arguments in (["sessions"], ["show", "x"], ["pending", "x"], ["abort", "x"], ["resume", "x"],
                      ["resolve", "x", "y", "--retry"]):  # fmt: skip
        ran = run(*arguments, "--db", str(path), cwd=tmp_path)
        assert (ran.code, ran.out) == (Exit.STORE, "")
        (line,) = ran.err.splitlines()
        assert line.startswith(f"error: [{code}] {path}: ")
        assert words in line
    doctor = run("doctor", "--json", "--db", str(path), cwd=tmp_path)
    assert (doctor.code, doctor.err) == (Exit.UNWELL, "")
    opens = next(check for check in doctor.json["checks"] if check["name"] == "opens")
    assert opens["grade"] == "bad"
    assert f"[{code}]" in opens["words"]
    assert opens["way_out"]
    assert contents(tmp_path) == before


@pytest.mark.acceptance("A7", "L5")
@pytest.mark.parametrize("left", [0.25, 0.5, 0.9])
def test_a_truncated_file_is_told_and_not_touched(crashed_db: Path, left: float) -> None:
    with closing(sqlite3.connect(crashed_db)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(crashed_db, int(crashed_db.stat().st_size * left) // 4096 * 4096)
    before = contents(crashed_db.parent)
    doctor = run("doctor", "--json", "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (doctor.code, doctor.err) == (Exit.UNWELL, "")
    ran = run("show", CRASHED, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (ran.code, len(ran.err.splitlines())) == (Exit.STORE, 1)
    assert ran.err.startswith("error: [store.damaged] ")
    assert contents(crashed_db.parent) == before


@pytest.mark.acceptance("L5")
def test_the_exit_codes_of_the_docs_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert documented == {*map(int, Exit), 141}
    for name in INTERFACE:
        assert f"## {name}" in page
        ran = run(name, "--help", cwd=ROOT)
        assert (ran.code, ran.err) == (0, "")
        for option in set(re.findall(r"--[a-z-]+", ran.out)) - {"--help", "--db", "--json"}:
            assert option in page, f"{option} of {name} is not in docs/cli.md"


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    env = environment(POWER_LOOP_API_KEY="any", POWER_LOOP_MODEL="none", POWER_LOOP_BASE_URL="http://127.0.0.1:9")
    process = subprocess.Popen(
        [*command("chat"), "--json"], cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        # A command that is answered says that the chat is listening.
        process.stdin.write("/session\n")
        process.stdin.flush()
        assert process.stdout is not None
        assert process.stdout.readline() == '{"session_id": null}\n'
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert '"interrupted"' in out
    assert os.listdir(tmp_path) == []


def test_a_reader_that_goes_away_is_no_crash(crashed_db: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command("show", CRASHED, "--db", str(crashed_db)), env=environment(), stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_looking_does_not_pay_for_the_openai_client() -> None:
    program = "import sys, power_loop.cli; sys.exit('openai' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=environment(), cwd=ROOT).returncode == 0


def test_the_module_is_the_command() -> None:
    ran = run("--version", cwd=ROOT)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("power-loop, version ")
    bare = run(cwd=ROOT)
    assert bare.code == Exit.USAGE
    assert all(name in bare.out for name in INTERFACE)
