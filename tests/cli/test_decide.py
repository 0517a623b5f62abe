"""`abort`, `resolve`, `resume`: a person's decisions, from a process that has nothing but the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from power_loop.testing import ScriptedServer
from tests.cli.kit import CRASHED, IDLE, Ran, child_in_payment, ledger_of, rows, run

TOOLS = ("--tools", "agent_tools:all_tools")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A model that has but one thing to say; it refuses a history that breaks the protocol."""
    with ScriptedServer(lambda _: "Looked after.") as server:
        yield server
        assert server.refusals == []


class Cli:
    """The command line over one file, with a model behind it."""

    def __init__(self, db: Path, ledger: Path, server: ScriptedServer) -> None:
        self.db, self.ledger, self.server = db, ledger, server

    def __call__(self, *arguments: str) -> Ran:
        return run(
            *arguments, "--db", str(self.db), cwd=self.db.parent, LEDGER=str(self.ledger),
            POWER_LOOP_API_KEY="any", POWER_LOOP_MODEL="scripted", POWER_LOOP_BASE_URL=self.server.url,
        )  # fmt: skip

    def ok(self, *arguments: str) -> str:
        ran = self(*arguments)
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        ran = self(*arguments, "--json")
        assert (ran.code, ran.err) == (code, "")
        return ran.json

    def states(self) -> dict[str, str]:
        return {call["name"]: call["state"] for call in self.json("show", CRASHED)["calls"]}


@pytest.fixture
def cli(crashed_db: Path, ledger: Path, server: ScriptedServer) -> Cli:
    return Cli(crashed_db, ledger, server)


@pytest.mark.acceptance("B3", "L5")
def test_abort_gives_up_what_is_open_once_and_without_a_model(cli: Cli) -> None:
    before = rows(cli.db)
    assert "2 open call(s)" in cli.ok("abort", CRASHED, "--dry-run")
    assert len(cli.json("abort", CRASHED, "--dry-run")["would_abort"]) == 2
    assert rows(cli.db) == before
    assert "gave up 2 call(s)" in cli.ok("abort", "crash", "--reason", "the bank is closed")
    assert cli.states() == {"look_up_invoice": "succeeded", "send_payment": "aborted", "write_receipt": "aborted"}
    assert "[aborted: the bank is closed]" in cli.ok("show", CRASHED)
    assert cli.json("abort", CRASHED) == {"session_id": CRASHED, "aborted": []}
    assert ledger_of(cli.ledger) == []
    assert cli.server.requests == []


@pytest.mark.acceptance("B2", "L5")
def test_resume_runs_what_never_ran_and_reports_what_is_in_doubt(cli: Cli) -> None:
    shown = cli.ok("resume", CRASHED, *TOOLS)
    assert shown.splitlines()[-1] == "Looked after."
    assert "send_payment reported" in shown
    assert "write_receipt succeeded: receipt 17 filed" in shown
    assert ledger_of(cli.ledger) == ["write_receipt"]
    assert len(cli.server.requests) == 1
    assert "is idle: nothing is open, the model was not asked" in cli.ok("resume", CRASHED)
    assert cli.json("resume", CRASHED)["stop_reason"] == "idle"
    assert len(cli.server.requests) == 1


@pytest.mark.acceptance("B10")
def test_resume_refuses_to_answer_calls_whose_tools_nobody_brought(cli: Cli) -> None:
    before = rows(cli.db)
    ran = cli("resume", CRASHED)
    assert ran.code == 2
    assert "[config.missing] this needs the tools of the open calls (send_payment, write_receipt)" in ran.err
    assert "--tools MODULE:NAME" in ran.err
    one = cli("resume", CRASHED, "--tools", "agent_tools:send_payment")
    assert one.code == 2
    assert "(write_receipt)" in one.err
    assert rows(cli.db) == before
    assert cli.json("resume", CRASHED, "--without-tools")["status"] == "completed"
    assert cli.states() == {"look_up_invoice": "succeeded", "send_payment": "reported", "write_receipt": "failed"}
    assert ledger_of(cli.ledger) == []


@pytest.mark.acceptance("B2")
@pytest.mark.parametrize(
    ("options", "payment", "ran"),
    [
        (["--in-doubt", "retry"], "succeeded", ["send_payment", "write_receipt"]),
        (["--decide", "call_1=retry"], "succeeded", ["send_payment", "write_receipt"]),
        (["--decide", "call_1=report"], "reported", ["write_receipt"]),
        (["--decide", "call_1=abort"], "aborted", ["write_receipt"]),
    ],
)
def test_resume_does_as_told_with_what_is_in_doubt(cli: Cli, options: list[str], payment: str, ran: list[str]) -> None:
    result = cli.json("resume", CRASHED, *TOOLS, *options)
    assert (result["status"], result["final_text"], result["pending_tool_calls"]) == ("completed", "Looked after.", [])
    assert cli.states()["send_payment"] == payment
    assert ledger_of(cli.ledger) == ran


@pytest.mark.acceptance("B2", "L5")
def test_ask_waits_for_a_person_whose_word_resume_takes_up(cli: Cli) -> None:
    asked = cli("resume", CRASHED, *TOOLS, "--in-doubt", "ask")
    assert asked.code == 4
    assert "the turn ended as pending_tools" in asked.out
    assert f"power-loop pending {CRASHED} --db " in asked.out
    assert cli.server.requests == []
    assert cli.json("resume", CRASHED, *TOOLS, "--in-doubt", "ask", code=4)["status"] == "pending_tools"
    assert ledger_of(cli.ledger) == []
    assert "1 call(s) open" in cli.ok("resolve", CRASHED, "call_1", "--result", "paid by hand")
    assert cli.states()["send_payment"] == "succeeded"
    assert cli.json("resume", CRASHED, *TOOLS, "--in-doubt", "ask")["final_text"] == "Looked after."
    assert ledger_of(cli.ledger) == ["write_receipt"]
    assert "paid by hand" in cli.ok("show", CRASHED)


@pytest.mark.acceptance("L5")
@pytest.mark.parametrize(
    ("word", "now", "in_the_end", "ran"),
    [
        (["--result", "paid"], "succeeded", "succeeded", ["write_receipt"]),
        (["--error", "the bank says no"], "failed", "failed", ["write_receipt"]),
        (["--retry"], "started", "succeeded", ["send_payment", "write_receipt"]),
        (["--report"], "started", "reported", ["write_receipt"]),
    ],
)
def test_resolve(cli: Cli, word: list[str], now: str, in_the_end: str, ran: list[str]) -> None:
    said = cli.json("resolve", CRASHED, "call_1", *word)
    assert said["resolved"] == word[0].removeprefix("--")
    assert cli.states()["send_payment"] == now
    # Nothing else was touched, and the decision holds in the process that comes next.
    cli.json("resume", CRASHED, *TOOLS)
    assert cli.states()["send_payment"] == in_the_end
    assert ledger_of(cli.ledger) == ran


@pytest.mark.acceptance("D1", "B3")
@pytest.mark.parametrize("arguments", [["abort", "live"], ["resolve", "live", "call_1", "--retry"],
                                       ["resume", "live", *TOOLS]])  # fmt: skip
def test_a_session_that_is_driven_is_left_alone(
    tmp_path: Path, ledger: Path, server: ScriptedServer, arguments: list[str]
) -> None:
    db = tmp_path / "agent.db"
    with child_in_payment(db, "live", ledger) as child:
        cli = Cli(db, ledger, server)
        ran = cli(*arguments)
        assert (ran.code, ran.out) == (5, "")
        assert ran.err.startswith("error: [session.busy] session 'live' is driven by ")
        assert f":{child.pid}:" in ran.err
        child.communicate("go on\n", timeout=60)
    assert ledger_of(ledger) == ["look_up_invoice", "send_payment", "write_receipt"]
    assert server.requests == []


@pytest.mark.acceptance("B5", "L5")
def test_a_model_that_fails_leaves_a_session_that_can_be_resumed(cli: Cli) -> None:
    from power_loop.testing import Reply

    cli.server.use(lambda _: Reply.fails(401, "no such key", code="invalid_api_key"))
    ran = cli("resume", CRASHED, *TOOLS)
    assert (ran.code, ran.err.split()[1]) == (7, "[model.auth]")
    cli.server.use(lambda _: "Back again.")
    assert cli.json("resume", CRASHED)["final_text"] == "Back again."
    assert ledger_of(cli.ledger) == ["write_receipt"]


def test_an_idle_session_needs_neither_model_nor_tools(crashed_db: Path) -> None:
    ran = run("resume", IDLE, "--db", str(crashed_db), cwd=crashed_db.parent)
    assert (ran.code, ran.err) == (0, "")
