"""A bit flips somewhere in a database: what is read is what was written, or it is refused; the doctor sees it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop, StoreDamagedError, open_store
from power_loop.store.sqlite import doctor
from power_loop.store.sqlite.doctor import Grade
from power_loop.values import SessionId
from tests.power.flips import Outcome, original, sweep

pytestmark = pytest.mark.acceptance("A9")

FLIPS = int(os.environ.get("POWER_LOOP_BIT_FLIPS", "300"))
SEED = 20261121


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.db"
    path.write_bytes(original(SEED))
    return path


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(base, tmp_path / "agent.db"))


def calls_bad(path: Path) -> bool:
    return any(finding.grade is Grade.BAD for finding in doctor.examine(path))


def test_a_flipped_bit_is_never_read_as_truth(base: Path) -> None:
    found = sweep(base, FLIPS, seed=SEED)
    assert [(one.number, one.words) for one in found if one.outcome is Outcome.WRONG] == []
    counts = Counter(one.outcome for one in found)
    assert counts[Outcome.REFUSED], counts
    assert counts[Outcome.TOLD_ONE] > 10 * counts[Outcome.TOLD_MORE], "one session's damage is that session's"


async def test_open_calls_that_a_damaged_index_hides_are_not_forgotten(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'open_calls'").fetchone()
    raw = bytearray(copy.read_bytes())
    entries = (root - 1) * size + 4  # the lower byte of the number of entries on the index's only page
    assert raw[entries] == 2
    raw[entries] ^= 2
    copy.write_bytes(raw)
    llm = ScriptedLLM(["never said"])
    async with StatefulAgentLoop(llm=llm, db_path=copy) as loop:
        for question in (loop.get_pending, loop.get_session, loop.abort_pending, loop.resume):
            with pytest.raises(StoreDamagedError):
                await question("left")
        with pytest.raises(StoreDamagedError):
            await loop.send("go on", "left")
        assert not llm.requests
        assert await loop.get_pending("one") == []
    assert calls_bad(copy)


DAMAGE = {
    "a call that never ran was tried": "UPDATE calls SET attempt = 1 WHERE state = 'requested'",
    "a call that ran was never tried": "UPDATE calls SET attempt = 0 WHERE state = 'succeeded'",
    "a result in another place": "UPDATE calls SET result_seq = 1 WHERE (session, result_seq) IN "
    "(SELECT session, max(result_seq) FROM calls GROUP BY session)",
    "a count below nothing": "UPDATE turns SET rounds = -3",
    "calls that were not counted": "UPDATE turns SET tool_calls = tool_calls + 1 WHERE tool_calls > 0",
    "the last usage is no answer's": "UPDATE usage SET purpose = 'dropped'",
    "a usage row that is gone": "DELETE FROM usage WHERE number = (SELECT max(number) FROM usage)",
    "a session that was never": "UPDATE sessions SET epoch = -1",
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_numbers_that_contradict_one_another_are_told(what: str, copy: Path) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(DAMAGE[what]).rowcount
    store = await open_store(copy)
    refused = 0
    for session in ("one", "two", "left"):
        for read in (store.calls, store.turns, store.history, store.session_info):
            try:
                await read(SessionId(session))
            except StoreDamagedError:
                refused += 1
    await store.aclose()
    assert refused
    assert calls_bad(copy)
