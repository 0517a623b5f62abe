"""`recall` and `show --full`: large results whole."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from power_loop import AgentLoopConfig, ScriptedLLM, StatefulAgentLoop, tool
from tests.cli.kit import command, contents, environment, run

pytestmark = pytest.mark.acceptance("E7")

WHOLE = "first\r\n\x1b[31m" + "\N{GRINNING FACE} in between\n" * 400 + "last"
SESSION = "large-0001"


@pytest.fixture
async def large_db(tmp_path: Path) -> Path:
    """A session with a large result, and one of nobody's."""
    from llm_client.scripted import calls

    @tool(effect="read")
    def look() -> str:
        """Looks."""
        return WHOLE

    path = tmp_path / "agent.db"
    llm = ScriptedLLM([calls(("look", {})), "seen"])
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look], config=AgentLoopConfig(result_limit=200)) as loop:
        await loop.create_session(SESSION)
        await loop.create_session("stranger")
        await loop.send("look", SESSION)
    return path


def piped(db: Path, *arguments: str) -> bytes:
    asked = command("recall", *arguments, "--db", str(db))
    return subprocess.run(asked, env=environment(), capture_output=True, check=True, cwd=db.parent).stdout


def test_recall_prints_the_exact_text_into_a_pipe(large_db: Path) -> None:
    before = contents(large_db)
    assert piped(large_db, "large", "1.3") == WHOLE.encode()
    assert piped(large_db, "large", "1.3", "--offset", "7", "--limit", "30") == WHOLE[7:37].encode()
    assert piped(large_db, "large", "1.3", "--offset", str(len(WHOLE) - 4)) == b"last"
    assert piped(large_db, "large", "1.3", "--offset", "99999") == b""
    ran = run("recall", "large", "1.3", "--limit", "5", "--json", "--db", str(large_db), cwd=large_db.parent)
    assert ran.json == {"session_id": SESSION, "handle": "1.3", "offset": 0, "text": "first"}
    assert contents(large_db) == before


def test_recall_moves_no_cursor_of_a_terminal(large_db: Path) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        asked = command("recall", SESSION, "1.3", "--limit", "20", "--db", str(large_db))
        assert subprocess.run(asked, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs).returncode == 0
        shown = terminal.read(65536).decode()
    os.close(theirs)
    assert shown.startswith("first\r\n")
    assert "\x1b" not in shown
    assert "[31m\N{GRINNING FACE} in" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["large", "1.4"], 3, "output.not_found"),
        (["large", "3"], 3, "output.not_found"),
        (["stranger", "1.3"], 3, "output.not_found"),
        (["nobody", "1.3"], 3, "session.not_found"),
        (["large", ""], 2, "input.invalid"),
        (["large"], 2, "usage"),
        (["large", "1.3", "--offset", "-1"], 2, "usage"),
        (["large", "1.3", "--limit", "some"], 2, "usage"),
    ],
)
def test_what_cannot_be_recalled_is_one_line_and_a_code(
    large_db: Path, arguments: list[str], code: int, word: str
) -> None:
    ran = run("recall", *arguments, "--db", str(large_db), cwd=large_db.parent)
    assert (ran.code, ran.out) == (code, "")
    assert f"[{word}]" in ran.err
    assert ran.err.count("\n") == 1


def test_show_full_has_large_results_whole(large_db: Path) -> None:
    short = run("show", SESSION, "--db", str(large_db), cwd=large_db.parent)
    full = run("show", SESSION, "--full", "--db", str(large_db), cwd=large_db.parent)
    assert (short.code, full.code, full.err) == (0, 0, "")
    assert short.out.count("in between") < 20
    assert full.out.count("in between") == 400
    assert "shown in short" not in full.out
    found = json.loads(run("show", SESSION, "--full", "--json", "--db", str(large_db), cwd=large_db.parent).out)
    assert found["whole_results"] == {"3": WHOLE}
    assert "whole_results" not in run("show", SESSION, "--json", "--db", str(large_db), cwd=large_db.parent).json
