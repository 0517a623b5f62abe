"""The suite as third parties run it: from a wheel, in an environment of its own, over a store and a sink of theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.environment import clean, cloned, made

STRANGER = """
import json
from power_loop import open_store

async def store(folder):
    return await open_store(folder / "theirs.db")

class Lines:
    def __init__(self, path):
        self.path, self.closed = path, False

    async def record(self, facts):
        assert not self.closed
        told = [{"fact": type(fact).__name__, "session": fact.session, "turn": fact.turn} for fact in facts]
        with open(self.path, "a") as file:
            file.write("".join(json.dumps(one) + "\\n" for one in told))

    async def aclose(self):
        self.closed = True

async def sink(folder):
    return Lines(folder / "theirs.txt")

def recorded(folder):
    file = folder / "theirs.txt"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

sink.recorded = recorded
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with `power-loop[testing]` in it."""
    place = tmp_path_factory.mktemp("installed")
    return made(place / "venv", f"{cloned(place / 'source')}[testing]")


def suite(installed: Path, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [installed / "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "power_loop.testing.conformance", *options],
        cwd=folder,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_bare_command_passes_on_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    assert " passed" in suite(installed, tmp_path)
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def test_a_strangers_store_and_sink_are_named_on_the_command_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(STRANGER)
    said = suite(installed, tmp_path, "--session-store", "stranger:store", "--message-sink", "stranger:sink")
    assert " passed" in said
    assert "skipped" not in said
