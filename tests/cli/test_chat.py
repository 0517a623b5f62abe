"""`chat`, through a pipe and through a terminal, against a real HTTP server."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from power_loop.testing import Reply, ScriptedServer
from power_loop.testing.script import Asked
from tests.cli.forks import PATIENCE
from tests.cli.kit import CRASHED, IDLE, Ran, command, environment, ledger_of, rows, run

TOOLS = ("--tools", "agent_tools:all_tools")


def model(asked: Asked) -> object:
    """Calls a tool for a payment, echoes everything else."""
    text = asked.last_user_text
    if "pay" in text and asked.round == 0:
        return Reply.calling(("send_payment", {"number": 17}), text="One moment.")
    return f"You said: {text}" if asked.round == 0 else "Paid."


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model) as server:  # type: ignore[arg-type]
        yield server
        assert server.refusals == []


def settings(server: ScriptedServer, ledger: Path) -> dict[str, str]:
    return {
        "LEDGER": str(ledger),
        "POWER_LOOP_API_KEY": "any",
        "POWER_LOOP_MODEL": "scripted",
        "POWER_LOOP_BASE_URL": server.url,
    }


def chat(cwd: Path, server: ScriptedServer, stdin: str, *arguments: str) -> Ran:
    return run("chat", *arguments, cwd=cwd, stdin=stdin, **settings(server, cwd / "ledger"))


@pytest.mark.acceptance("L5")
def test_a_line_is_a_message(tmp_path: Path, server: ScriptedServer) -> None:
    ran = chat(tmp_path, server, "hello\n\nplease pay\n/quit\nnever said\n", *TOOLS, "--system", "Be brief.")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "You said: hello",
        "One moment.",
        '-> send_payment({"number": 17})',
        "   send_payment succeeded: invoice 17 paid",
        "Paid.",
    ]
    assert ledger_of(tmp_path / "ledger") == ["send_payment"]
    assert all(request.body["stream"] for request in server.requests)
    assert server.requests[0].messages[0] == {"role": "system", "content": "Be brief."}
    (listed,) = run("sessions", "--json", cwd=tmp_path).json["sessions"]
    assert (listed["turns"], listed["state"]) == (2, "idle")


def test_chat_goes_on_with_a_session_of_a_file_that_is_there(crashed_db: Path, server: ScriptedServer) -> None:
    ran = chat(crashed_db.parent, server, "again", "--session", "idle", "--db", str(crashed_db), "--json")
    assert (ran.code, ran.err) == (0, "")
    result = ran.json
    assert (result["session_id"], result["turn"], result["final_text"]) == (IDLE, 2, "You said: again")
    lines = chat(crashed_db.parent, server, "a\nb\n", "--session", IDLE, "--db", str(crashed_db), "--json").out
    assert [json.loads(line)["turn"] for line in lines.splitlines()] == [3, 4]


@pytest.mark.acceptance("B1")
def test_a_pipe_is_refused_where_a_person_would_be_asked(crashed_db: Path, server: ScriptedServer) -> None:
    before = rows(crashed_db)
    ran = chat(crashed_db.parent, server, "hello\n", "--session", CRASHED, "--db", str(crashed_db), *TOOLS)
    assert (ran.code, ran.out) == (4, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: [session.pending] session '{CRASHED}' has 2 open call(s): send_payment call_1")
    assert f"`power-loop resume {CRASHED} --db " in line
    assert f"`power-loop abort {CRASHED} --db " in line
    assert rows(crashed_db) == before
    assert server.requests == []


@pytest.mark.acceptance("B5")
def test_a_model_that_fails_ends_a_script_and_keeps_the_input(tmp_path: Path, server: ScriptedServer) -> None:
    server.use(lambda _: Reply.fails(400, "no such model", code="model_not_found"))
    ran = chat(tmp_path, server, "hello\nmore\n")
    assert ran.code == 7
    assert ran.err.startswith("error: [model.request] ")
    assert len(ran.err.splitlines()) == 1
    (listed,) = run("sessions", "--json", cwd=tmp_path).json["sessions"]
    assert (listed["state"], listed["preview"], listed["turns"]) == ("failed", "hello", 1)


@pytest.mark.acceptance("A8", "C6")
def test_ctrl_c_leaves_a_session_that_can_be_resumed(tmp_path: Path, server: ScriptedServer) -> None:
    env = environment(**settings(server, tmp_path / "ledger"), STAY_IN_PAYMENT="yes")
    process = subprocess.Popen(
        command("chat", *TOOLS), cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("please pay\n")
        process.stdin.flush()
        said = ""
        while "in send_payment" not in said:
            line = process.stdout.readline()
            assert line, f"the chat ended early: {said}"
            said += line
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    (line,) = err.splitlines()
    (listed,) = run("sessions", "--json", cwd=tmp_path).json["sessions"]
    session = listed["session_id"]
    assert f"session {session} is safe" in line
    assert f"power-loop resume {session}" in line
    assert [call["state"] for call in listed["pending"]] == ["in_doubt"]
    assert (listed["state"], listed["needs_attention"]) == ("stopped", True)
    resumed = run("resume", session, *TOOLS, cwd=tmp_path, **settings(server, tmp_path / "ledger"))
    assert (resumed.code, resumed.out.splitlines()[-1]) == (0, "Paid.")
    assert ledger_of(tmp_path / "ledger") == ["send_payment"]


class Terminal:
    """The chat in a terminal of its own, read up to what it is expected to say."""

    def __init__(self, cwd: Path, env: dict[str, str], *arguments: str) -> None:
        self._heard = ""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command(*arguments), cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def until(self, text: str) -> str:
        """What is said up to and with a text; what comes after it is kept for the next time."""
        while text not in self._heard:
            ready, _, _ = select.select([self._ours], [], [], PATIENCE)
            assert ready, f"{text!r} does not come after {self._heard!r}"
            self._heard += os.read(self._ours, 4096).decode()  # fails when the other end is closed
        said, _, self._heard = self._heard.partition(text)
        return said + text

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.mark.acceptance("L5")
@pytest.mark.parametrize(("word", "state"), [("resume", "reported"), ("abort", "aborted")])
def test_a_person_is_asked_about_open_calls(
    crashed_db: Path, ledger: Path, server: ScriptedServer, word: str, state: str
) -> None:
    arguments = ["chat", "--session", CRASHED, "--db", str(crashed_db), *TOOLS]
    env = environment(**settings(server, ledger), TERM="xterm", NO_COLOR="1")
    with Terminal(crashed_db.parent, env, *arguments) as terminal:
        asked = terminal.until("resume it, abort it, or quit")
        assert "2 open call(s)" in asked
        assert "send_payment" in asked
        terminal.type("nonsense")
        terminal.until("is not one of")
        terminal.type(word)
        terminal.until("you> ")
        terminal.type("hi there")
        terminal.until("You said: hi there")
        terminal.until("you> ")
        terminal.type("/quit")
        assert terminal.process.wait(PATIENCE) == 0
    calls = run("show", CRASHED, "--json", "--db", str(crashed_db), cwd=crashed_db.parent).json["calls"]
    assert calls[1]["state"] == state
    assert ledger_of(ledger) == (["write_receipt"] if word == "resume" else [])


def test_a_person_may_try_again_after_a_failure(tmp_path: Path, server: ScriptedServer) -> None:
    server.use(lambda _: Reply.fails(400, "no such model"))
    env = environment(**settings(server, tmp_path / "ledger"), TERM="xterm", NO_COLOR="1")
    with Terminal(tmp_path, env, "chat") as terminal:
        terminal.until("you> ")
        terminal.type("hello")
        terminal.until("/resume asks again")
        terminal.until("you> ")
        server.use(model)  # type: ignore[arg-type]
        terminal.type("/resume")
        terminal.until("You said: hello")
        terminal.until("you> ")
        terminal.type("\x04")
        assert terminal.process.wait(PATIENCE) == 0
