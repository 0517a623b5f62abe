"""Files in known states, made once by real processes, and copied for each test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from power_loop import ScriptedLLM, StatefulAgentLoop
from tests.cli.kit import CRASHED, IDLE, child_in_payment, copied


@pytest.fixture(scope="session")
def crashed_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One session that is idle, and one whose process was killed inside `send_payment`."""
    folder = tmp_path_factory.mktemp("crashed")

    async def idle() -> None:
        async with StatefulAgentLoop(llm=ScriptedLLM(["Good morning!"]), db_path=folder / "agent.db") as loop:
            await loop.create_session(IDLE)
            await loop.send("Hello there, \x1b[31mred\x1b[0m world", IDLE)

    asyncio.run(idle())
    with child_in_payment(folder / "agent.db", CRASHED, folder / "ledger") as child:
        child.kill()
        child.wait()
    return folder


@pytest.fixture
def crashed_db(crashed_template: Path, tmp_path: Path) -> Path:
    return copied(crashed_template / "agent.db", tmp_path / "db")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"
