"""What processes leave behind that were killed while they made a database or a lock: the next one tidies up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop


@pytest.mark.acceptance("A7")
async def test_unfinished_databases_go_when_one_is_finished(tmp_path: Path) -> None:
    for name in (".a.db.new-1", ".a.db.new-1-wal", ".other.db.new-1"):
        (tmp_path / name).write_bytes(b"unfinished")
    async with StatefulAgentLoop(db_path=tmp_path / "a.db") as loop:
        assert await loop.list_sessions() == []
    assert sorted(os.listdir(tmp_path)) == [".other.db.new-1", "a.db"]


@pytest.mark.acceptance("D1")
async def test_locks_that_were_never_finished_go_too(tmp_path: Path) -> None:
    owners = tmp_path / "a.db.owners"
    owners.mkdir()
    (owners / ".new-dead").touch()
    (owners / "dead").touch()
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=tmp_path / "a.db") as loop:
        await loop.send("hi")
        assert len(list(owners.iterdir())) == 1
    assert not owners.exists()
