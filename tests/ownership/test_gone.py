"""A database that is deleted or replaced under a running loop: nothing more is acknowledged that would be lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop, StoreError


@pytest.mark.acceptance("A7")
@pytest.mark.parametrize("fate", ["deleted", "moved", "replaced"])
async def test_a_file_that_goes_away_takes_no_more_writes(tmp_path: Path, fate: str) -> None:
    path, other = tmp_path / "a.db", tmp_path / "b.db"
    async with StatefulAgentLoop(llm=ScriptedLLM(["a", "b"]), db_path=path) as loop:
        session = (await loop.send("one")).session_id
        if fate == "deleted":
            os.unlink(path)
        else:
            os.rename(path, other)
        if fate == "replaced":
            async with StatefulAgentLoop(llm=ScriptedLLM(["c"]), db_path=tmp_path / "c.db") as elsewhere:
                await elsewhere.send("theirs")
            os.rename(tmp_path / "c.db", path)
        with pytest.raises(StoreError) as refused:
            await loop.send("two", session)
        assert refused.value.code == "store.gone"
        if fate == "moved":
            os.rename(other, path)
            assert (await loop.send("two", session)).final_text == "b"
