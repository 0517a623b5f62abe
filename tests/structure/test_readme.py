"""The README is true: its code runs as pasted, its commands are there once, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from power_loop.testing import Reply, ScriptedServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    assert len(found) == 1, f"{len(found)} {language} blocks with {containing!r}"
    return found[0]


def run(code: str, folder: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "POWER_LOOP_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_ten_lines_run_as_pasted(tmp_path: Path) -> None:
    script = [
        Reply.calling(("send_invoice", {"customer": "ACME", "amount": 120})),
        Reply.says("Sent."),
        Reply.says("I sent one invoice."),
    ]
    with ScriptedServer(script) as server:
        said = run(
            block("python", "asyncio.run(main())"),
            tmp_path,
            OPENAI_API_KEY="none",
            OPENAI_MODEL="scripted",
            OPENAI_BASE_URL=server.url,
        )
    assert said == "I sent one invoice.\n"
    assert not server.refusals


def test_the_scripted_model_takes_the_place_of_a_real_one(tmp_path: Path) -> None:
    code = block("python", "asyncio.run(main())")
    code = code.replace("OpenAIChatService.from_env()", "llm")
    assert run(block("python", "ScriptedLLM([") + code, tmp_path) == "Goodbye.\n"


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("marker", ["demo-command", "test-command"])
def test_each_command_stands_once(marker: str) -> None:
    assert README.count(f"<!-- {marker} -->\n```bash\n") == 1
