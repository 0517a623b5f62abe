"""`approvals`, `approve`, `deny`, `answer`: whoever decides has nothing but the file."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import calls
from power_loop import AgentLoopConfig, ScriptedLLM, StatefulAgentLoop
from power_loop.cli.exits import Exit
from power_loop.testing import ScriptedServer
from power_loop.testing.clock import ManualClock, world
from tests.cli import people_tools
from tests.cli.forks import PATIENCE
from tests.cli.kit import Ran, command, environment, rows, run

pytestmark = pytest.mark.acceptance("L5", "B8")

S = "waits-0001"
TOOLS = ("--tools", "people_tools:all_tools")
CHOICES = {"question": "Which colour?", "choices": ["red", "green"], "free_text": False}


class Cli:
    """The command line over one file, with a model behind it."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.folder, self.db, self.server = folder, folder / "agent.db", server
        self.ledger = folder / "ledger"
        self.settings = {
            "LEDGER": str(self.ledger), "POWER_LOOP_API_KEY": "any", "POWER_LOOP_MODEL": "scripted",
            "POWER_LOOP_BASE_URL": server.url, "LOGNAME": "ann",
        }  # fmt: skip

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        return run(*arguments, "--db", str(self.db), cwd=self.folder, stdin=stdin, **self.settings)

    def ok(self, *arguments: str, code: int = 0) -> str:
        ran = self(*arguments)
        assert (ran.code, ran.err) == (code, "")
        return ran.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        ran = self(*arguments, "--json")
        assert (ran.code, ran.err) == (code, "")
        return ran.json

    def ran(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def refused(self, code: Exit, word: str, *arguments: str) -> str:
        before = rows(self.db)
        ran = self(*arguments)
        assert (ran.code, ran.out) == (code, "")
        assert ran.err.startswith(f"error: [{word}] ")
        assert len(ran.err.splitlines()) == 1
        assert rows(self.db) == before
        return ran.err


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: "Looked after.") as server:
        yield server
        assert server.refusals == []


@pytest.fixture
async def cli(tmp_path: Path, server: ScriptedServer) -> Cli:
    """A session in which two payments and a question wait."""
    made = Cli(tmp_path, server)
    model = ScriptedLLM([calls(("ask_human", CHOICES), ("pay", {"number": 7}), ("pay", {"number": 8}))])
    async with StatefulAgentLoop(llm=model, db_path=made.db, tools=people_tools.all_tools) as loop:
        await loop.create_session(S)
        await loop.send("pay", S)
    return made


def test_what_waits_is_listed_with_what_is_to_run_and_commands_that_decide(cli: Cli) -> None:
    shown = cli.ok("approvals")
    assert 'pay({"number": 7})' in shown
    assert "asked because: money leaves" in shown
    found = cli.json("approvals", S[:5])["approvals"]
    assert [(one["session_id"], one["call_id"], one["name"], one["decision"]) for one in found] == [
        (S, "call_1", "pay", None),
        (S, "call_2", "pay", None),
    ]
    assert f"--hash {found[0]['arguments_hash']}" in shown
    line = next(line.strip() for line in shown.splitlines() if " approve " in line)
    done = subprocess.run(
        line.replace("power-loop", " ".join(command()), 1),
        shell=True,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [one["call_id"] for one in cli.json("approvals")["approvals"]] == ["call_2"]
    every = cli.json("approvals", "--all")["approvals"]
    assert [one["decision"] for one in every] == ["approved", None]
    assert "approved" in cli.ok("approvals", "--all", S)
    assert cli.ran() == []


def test_everything_that_looks_says_who_has_the_word(cli: Cli) -> None:
    shown = cli.ok("pending", S)
    for word in ("a person decides whether it runs", "the host, or a person, gives its result", "money leaves"):
        assert word in shown
    ways = [way for way, _ in cli.json("pending", S)["ways_out"]]
    assert [way.split()[1] for way in ways] == ["answer", "approve", "deny", "approve", "deny", "resume", "abort"]
    assert f"{S}  awaiting_approval" in cli.ok("sessions", "--attention")
    shown = cli.ok("show", S)
    assert "waiting_for_input" in shown
    assert "approval: nobody has decided" in shown
    ran = cli("chat", "--session", S, *TOOLS, stdin="hello\n")
    assert (ran.code, "[session.pending]" in ran.err) == (Exit.WAITS, True)
    assert f"`power-loop approve {S} CALL" in ran.err
    assert f"`power-loop answer {S} CALL" in ran.err


def test_decided_one_by_one_and_gone_on_with(cli: Cli) -> None:
    assert "approved by ann" in cli.ok("approve", S, "call_2", "--arguments", '{"number": 80}')
    said = cli.json("deny", S, "call_1", "too much", "--by", "bob")
    assert (said["decision"], said["decided_by"], said["said"]) == ("denied", "bob", "too much")
    assert "approval: approved by ann with {" in cli.ok("show", S)
    said = cli.json("resume", S, *TOOLS, code=Exit.WAITS)
    assert (said["status"], [call["id"] for call in said["pending_tool_calls"]]) == ("waiting_for_input", ["call_0"])
    assert cli.ran() == ["pay 80"]
    shown = cli.ok("resume", S, *TOOLS, code=Exit.WAITS)
    assert "the turn ended as waiting_for_input" in shown
    assert f"power-loop answer {S} call_0 VALUE" in shown
    assert len(cli.server.requests) == 0
    assert "Looked after." in cli.ok("answer", S, "call_0", "red", "--resume", *TOOLS)
    assert cli.json("pending", S)["calls"] == []
    last = cli.server.requests[-1].body["messages"]
    assert [message["content"] for message in last if message["role"] == "tool"] == [
        "red",
        "[denied] bob did not approve this call. It did not run. The reason: too much",
        '[A person approved this call with other arguments: {"number":80}]\ninvoice 80 paid',
    ]


def test_the_last_word_may_go_on_at_once(cli: Cli) -> None:
    assert cli.json("answer", S, "call_0", "--json-value", '["green"]')["pending"][0]["id"] == "call_1"
    cli.ok("deny", S, "call_1")
    said = cli.json("approve", S, "call_2", "--resume", *TOOLS)
    assert (said["status"], said["final_text"], cli.ran()) == ("completed", "Looked after.", ["pay 8"])


def test_an_answer_may_be_that_it_went_wrong(cli: Cli) -> None:
    assert "has its result" in cli.ok("answer", S, "call_0", "--error", "nobody was there")
    assert "Error: nobody was there" in cli.ok("show", S)


def test_what_cannot_be_decided_is_one_line_and_a_code(cli: Cli) -> None:
    refused = cli.refused
    refused(Exit.NOT_FOUND, "session.not_found", "approve", "nobody", "call_1")
    refused(Exit.NOT_FOUND, "call.not_found", "deny", S, "call_9")
    refused(Exit.NOT_FOUND, "call.not_found", "answer", S, "call_9", "x")
    refused(Exit.WAITS, "call.settled", "approve", S, "call_0")
    refused(Exit.WAITS, "call.settled", "answer", S, "call_1", "x")
    refused(Exit.USAGE, "input.invalid", "answer", S, "call_0", "blue")
    refused(Exit.USAGE, "input.invalid", "approve", S, "call_1", "--arguments", '{"amount": 1}', *TOOLS)
    refused(Exit.USAGE, "usage", "approve", S, "call_1", "--arguments", "[1]")
    refused(Exit.USAGE, "usage", "approve", S, "call_1", "--arguments", "{")
    refused(Exit.USAGE, "usage", "answer", S, "call_0")
    refused(Exit.USAGE, "usage", "answer", S, "call_0", "red", "--error", "no")
    refused(Exit.USAGE, "usage", "answer", S, "call_0", "--json-value", "{")
    said = refused(Exit.WAITS, "approval.changed", "approve", S, "call_1", "--hash", "0" * 16)
    assert f"`power-loop approvals {S}" in said
    refused(Exit.USAGE, "tool.invalid", "approve", S, "call_1", "--resume", "--tools", "nowhere:at_all")
    cli.ok("approve", S, "call_1")
    cli.ok("approve", S, "call_1")
    assert "the first decision stands" in refused(Exit.WAITS, "approval.decided", "deny", S, "call_1")
    said = refused(Exit.USAGE, "config.missing", "resume", S, "--tools", "people_tools:ask_human")
    assert "(pay)" in said, "what waits for nobody any more needs its tool"


async def test_what_expired_says_so(tmp_path: Path, server: ScriptedServer) -> None:
    cli = Cli(tmp_path, server)
    model = ScriptedLLM([calls(("pay", {"number": 7}))])
    clock = ManualClock()
    clock.set(clock.now().replace(year=2020))
    async with StatefulAgentLoop(
        llm=model, db_path=cli.db, tools=people_tools.all_tools, world=world(clock),
        config=AgentLoopConfig(approval_timeout=60),
    ) as loop:  # fmt: skip
        await loop.create_session(S)
        await loop.send("pay", S)
    assert "expires 2020-01-01 00:01:00 UTC" in cli.ok("approvals")
    said = cli.refused(Exit.WAITS, "approval.expired", "approve", S, "call_0")
    assert f"`power-loop resume {S}" in said
    assert "Looked after." in cli.ok("resume", S, *TOOLS)
    assert "expired" in cli.ok("approvals", "--all")
    assert cli.ran() == []


def test_a_person_at_a_terminal_is_asked_about_each_and_the_turn_goes_on(cli: Cli) -> None:
    """Answered (with a choice that is none first), approved, denied; then the model is asked."""
    seen = typed(cli, "answer", "blue", "red", "approve", "deny", "not this one", "/quit")
    assert "is none of the choices" in seen
    assert "Looked after." in seen
    assert cli.ran() == ["pay 7"]
    assert cli.json("pending", S)["calls"] == []


def test_a_person_at_a_terminal_may_give_all_of_it_up(cli: Cli) -> None:
    typed(cli, "answer", "red", "abort", "/quit")
    assert cli.json("pending", S)["calls"] == []
    assert "aborted" in cli.ok("show", S)
    assert cli.ran() == []


def typed(cli: Cli, *lines: str) -> str:
    """What `chat` shows on a terminal into which these lines are typed."""
    master, slave = pty.openpty()
    arguments = command("chat", "--session", S, "--db", str(cli.db), *TOOLS)
    env = environment(**cli.settings, NO_COLOR="1", TERM="dumb")
    with subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cli.folder) as process:
        os.close(slave)
        os.write(master, "".join(f"{line}\n" for line in lines).encode())
        seen = b""
        while select.select([master], [], [], PATIENCE)[0]:
            try:
                got = os.read(master, 65536)
            except OSError:
                break
            if not got:
                break
            seen += got
        process.wait(PATIENCE)
    os.close(master)
    return seen.decode(errors="replace").replace("\r\n", "\n")
