"""A9 for indexes: sound rows in the wrong order, twice, or not found are damage, never a history."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, StoreDamagedError, StoreError, tool
from power_loop.store.sqlite import doctor

pytestmark = pytest.mark.acceptance("A9")


@tool(effect="read")
def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


@pytest.fixture
async def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.db"
    llm = ScriptedLLM([calls(("look", {"what": "a"}), ("look", {"what": "b"})), "done"] * 3)
    async with StatefulAgentLoop(llm=llm, db_path=path, tools=[look]) as loop:
        for session in ("s1", "s2"):
            await loop.create_session(session)
        for text in ("one", "two"):
            await loop.send(text, "s1")
        await loop.send("three", "s2")
    return path


def page_of(path: Path, index: str) -> tuple[int, int]:
    """Where the page of a small index lies in the file, and its size."""
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (index,)).fetchone()
    return (root - 1) * size, size


async def read(path: Path) -> list[str]:
    async with StatefulAgentLoop(db_path=path) as loop:
        return [message.body for message in await loop.get_messages("s1")]


@pytest.mark.parametrize("index", ["active_messages", "sqlite_autoindex_sessions_1"])
async def test_a_flipped_bit_in_an_index_never_makes_another_history(sample: Path, tmp_path: Path, index: str) -> None:
    written = await read(sample)
    start, size = page_of(sample, index)
    raw = sample.read_bytes()
    used = [at for at in range(start, start + size) if raw[at]]
    told = 0
    for at in used[:: max(1, len(used) // 40)]:
        copy = tmp_path / "copy.db"
        shutil.copyfile(sample, copy)
        with copy.open("r+b") as file:
            file.seek(at)
            file.write(bytes([raw[at] ^ 1]))
        try:
            assert await read(copy) == written
        except StoreError:
            told += 1
            assert any(finding.grade == "bad" for finding in doctor.examine(copy)), f"byte {at}"
        for beside in tmp_path.glob("copy.db*"):
            beside.unlink()
    assert told > 0


async def test_a_session_that_its_index_does_not_find_is_damaged_and_not_missing(sample: Path) -> None:
    start, size = page_of(sample, "sqlite_autoindex_sessions_1")
    raw = bytearray(sample.read_bytes())
    at = raw.rindex(b"s1", start, start + size)
    raw[at] ^= 1  # "s1" becomes "r1"
    sample.write_bytes(raw)
    async with StatefulAgentLoop(db_path=sample) as loop:
        with pytest.raises(StoreDamagedError):
            await loop.get_messages("s1")
        assert len(await loop.get_messages("s2")) == 5
