"""`pip install .` in a fresh virtual environment, used outside the checkout: the wheel holds all that is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the package in it."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    # A copy of what a clone holds, so that building leaves nothing in the checkout.
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
    )
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    run(place / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(source))
    return place / "venv/bin"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_opens_a_store_with_the_migrations_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import asyncio, power_loop, llm_client
from pathlib import Path
from power_loop import ScriptedLLM, StatefulAgentLoop

async def main():
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path="agent.db") as loop:
        result = await loop.send("hi")
        print(result.final_text, (await loop.get_session(result.session_id)).state)

asyncio.run(main())
package = Path(power_loop.__file__).parent
assert "site-packages" in package.parts
assert (package / "py.typed").is_file() and (Path(llm_client.__file__).parent / "py.typed").is_file()
assert (package / "migrations/sqlite/0001_sessions.sql").is_file()
"""
    assert run(installed / "python", "-c", code, cwd=tmp_path) == "hello idle\n"


def test_it_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    assert "SessionPendingError" in run(installed / "power-loop", "demo", cwd=tmp_path)
    assert "demo" in run(installed / "python", "-m", "power_loop", "--help", cwd=tmp_path)


def test_the_base_install_stays_small(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    names = {line.split("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "httpx", "requests"}
    assert len(names) <= 40, sorted(names)
