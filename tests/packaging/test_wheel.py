"""`pip install .` in a fresh virtual environment, used outside the checkout: the wheel holds all that is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.environment import clean, cloned, listed, made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the package in it."""
    place = tmp_path_factory.mktemp("wheel")
    return made(place / "venv", str(cloned(place / "source")))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=clean(), capture_output=True, text=True, timeout=600)
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


def test_the_base_install_stays_small(installed: Path) -> None:
    names = listed(installed.parent)
    assert "power-loop" in names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "httpx", "requests"}
    assert len(names) <= 40, sorted(names)
