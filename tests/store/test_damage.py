"""A flipped bit is never read as truth: what a read gives is what was written, or a typed error."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import PowerLoopError, SessionNotFoundError, StatefulAgentLoop, StoreDamagedError, StoreError
from power_loop.store import open_store
from tests.store import sample
from tests.store.kit import files, tables

pytestmark = pytest.mark.acceptance("A9")

FLIPS: Final = int(os.environ.get("POWER_LOOP_BIT_FLIPS", "300"))
SEED: Final = int(os.environ.get("POWER_LOOP_SEED", "20261121"))

UNREAD: Final = {
    # Read by no call of the API; the doctor checks these rows.
    ("schema_migrations", "name"),
    ("schema_migrations", "checksum"),
    ("compactions", "strategy"),
    ("compactions", "model"),
    ("sqlite_sequence", "name"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(sample.write(tmp_path_factory.mktemp("sample")))


def texts(value: object) -> Any:
    """The texts in a value, in their places; numbers and times left out."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {key: texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [texts(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: texts(getattr(value, item.name)) for item in fields(value)}
    return None


Answer = tuple[str, Any]


async def answered(question: Awaitable[object]) -> Answer:
    """What a call gave: its texts, or the typed error. Anything else it raises fails the test."""
    try:
        return "texts", texts(await question)
    except PowerLoopError as error:
        return "error", error


async def read_all(path: Path) -> dict[str, Answer]:
    """Every read of the API, over every session."""
    answers: dict[str, Answer] = {}
    async with StatefulAgentLoop(db_path=path) as loop:
        answers["list_sessions"] = await answered(loop.list_sessions(archived=True))
        for session in sample.SESSIONS:
            reads: dict[str, Callable[[], Awaitable[object]]] = {
                "get_session": lambda s=session: loop.get_session(s),
                "get_messages": lambda s=session: loop.get_messages(s),
                "get_messages folded": lambda s=session: loop.get_messages(s, include_compacted=True),
                "get_messages marked": lambda s=session: loop.get_messages(s, include_compacted=True, mark_damage=True),
                "get_queued": lambda s=session: loop.get_queued(s),
                "get_pending": lambda s=session: loop.get_pending(s),
                "get_calls": lambda s=session: loop.get_calls(s),
                "events": lambda s=session: every_event(loop, s),
                "get_approvals": lambda s=session: loop.get_approvals(s, decided=True),
                "what calls wait for": lambda s=session: waits(loop, s),
                "get_turns": lambda s=session: loop.get_turns(s),
                "get_usage": lambda s=session: loop.get_usage(s),
            }
            if session in ("alpha", "beta"):  # one tree
                reads["recall_output"] = lambda s=session: loop.recall_output(s, "1.6")
            if session == "alpha":
                reads["recall_output, shown whole"] = lambda s=session: loop.recall_output(s, "1.7")
            for name, read in reads.items():
                answers[f"{name} of {session}"] = await answered(read())
    return answers


async def every_event(loop: StatefulAgentLoop, session: str) -> object:
    return [event async for event in loop.events(session, follow=False)]


async def waits(loop: StatefulAgentLoop, session: str) -> object:
    return await loop.get_waits(session, decided=True)


def told_apart(name: str, was: Answer, now: Answer) -> bool:
    """Whether a read says the same as before, or says that it cannot."""
    if now[0] == "error":
        return isinstance(now[1], StoreError | SessionNotFoundError)
    if name.startswith("get_messages marked"):
        written = [message["body"] for message in was[1]]
        return all(message["state"] == "damaged" or message["body"] in written for message in now[1])
    return was == now


def cleared(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_file():
            left.unlink()


def flipped(source: Path, target: Path, bit: int) -> Path:
    raw = bytearray(source.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    target.write_bytes(raw)
    return target


@dataclass(frozen=True)
class Cell:
    """One stored text."""

    table: str
    column: str
    row: tuple[tuple[str, Any], ...]
    """The key of its row, by column."""

    @property
    def where(self) -> str:
        return f"{self.table}.{self.column} of {dict(self.row)}"


def text_cells(path: Path) -> list[Cell]:
    cells = []
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for table in tables(connection):
            keys = [column[1] for column in connection.execute(f"PRAGMA table_info({table})") if column[5]] or ["rowid"]
            for row in connection.execute(f"SELECT {'rowid, ' if keys == ['rowid'] else ''}* FROM {table}"):
                key = tuple((name, row[name]) for name in keys)
                cells += [Cell(table, name, key) for name in row.keys() if isinstance(row[name], str)]  # noqa: SIM118
    return cells


def flip_text(path: Path, cell: Cell, random_: random.Random) -> None:
    """Flip one bit of one stored text, whatever CHECKs and UTF-8 say of the outcome."""
    condition = " AND ".join(f"{name} = ?" for name, _ in cell.row)
    key = [value for _, value in cell.row]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        [(raw,)] = connection.execute(f"SELECT CAST({cell.column} AS BLOB) FROM {cell.table} WHERE {condition}", key)
        changed = bytearray(raw)
        bit = random_.randrange(len(changed) * 8)
        changed[bit // 8] ^= 1 << bit % 8
        connection.execute(
            f"UPDATE {cell.table} SET {cell.column} = CAST(? AS TEXT) WHERE {condition}", (bytes(changed), *key)
        )


async def test_a9_one_flipped_bit_in_any_stored_text_is_told_and_nothing_else_is_touched(
    original: Path, tmp_path: Path
) -> None:
    random_ = random.Random(SEED)
    before = await read_all(original)
    assert all(kind == "texts" for kind, _ in before.values())
    seen = set()
    for number, cell in enumerate(text_cells(original)):
        where, column = cell.where, (cell.table, cell.column)
        if column in UNREAD:
            continue
        path = Path(shutil.copy(original, tmp_path / f"{number}.db"))
        flip_text(path, cell, random_)
        try:
            after = await read_all(path)
        except StoreError:
            continue
        wrong = [name for name in before if not told_apart(name, before[name], after[name])]
        assert not wrong, f"after a flip in {where}: {wrong}"
        told = [name for name, (kind, _) in after.items() if kind == "error"]
        if column != ("sessions", "stop_reason"):  # no read gives it; see below
            assert told, f"a flip in {where} was seen by nobody"
        about = {name.rpartition(" ")[2] for name in told} - {"list_sessions"}
        assert len(about) <= 1 + (column[0] == "sessions"), f"a flip in {where} took down {about}"
        seen.add(column[0])
    assert seen == {"sessions", "turns", "messages", "calls", "usage", "inputs", "waits", "events"}


async def test_a9_a_damaged_message_is_named_with_its_session_and_number(original: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(original, tmp_path / "sample.db"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE messages SET body = replace(body, 'I saw it', 'I saw is') WHERE session = 1 AND seq = 8"
        )
        connection.commit()
    llm = ScriptedLLM(["to the first that waits", "to the second", "never said"])
    async with StatefulAgentLoop(llm=llm, db_path=path) as loop:
        with pytest.raises(StoreDamagedError) as caught:
            await loop.get_messages("alpha")
        assert (caught.value.session_id, caught.value.seq, caught.value.code) == ("alpha", 8, "store.damaged")
        assert str(path) in str(caught.value)
        with pytest.raises(StoreDamagedError):
            await loop.send("what did you see?", "alpha")
        assert not llm.requests
        marked = await loop.get_messages("alpha", mark_damage=True)
        assert [message.seq for message in marked if message.state == "damaged"] == [8]
        assert "I saw" not in str(marked)
        assert (await loop.get_messages("beta"))[-1].text == "are you there?"
        assert (await loop.send("and you?", "beta")).final_text == "never said"


async def test_a9_a_damaged_reason_to_stop_still_stops_and_is_not_passed_on(original: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(original, tmp_path / "sample.db"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET stop_reason = 'the building closet' WHERE id = 'delta'")
        connection.commit()
    store = await open_store(path)
    [(session, epoch, reason)] = await store.stops_requested()
    assert (session, epoch) == ("delta", 1)
    assert "building" not in reason
    await store.aclose()


MOVED = {
    "another message's place": "UPDATE messages SET note_of = 1, place = 100 WHERE session = 1 AND seq = 8",
    "a note's place": "UPDATE messages SET place = 100 WHERE session = 1 AND seq = 10",
    "a message's number": "UPDATE messages SET seq = 80, place = 80 WHERE session = 1 AND seq = 8",
    "a message of another session": "UPDATE messages SET session = 2, seq = 8 WHERE session = 1 AND seq = 8",
    "a message gone": "DELETE FROM messages WHERE session = 1 AND seq = 8",
    "a session's number": "UPDATE sessions SET key = iif(key = 1, 9, key); UPDATE sessions SET key = 1 WHERE key = 3",
    "a turn gone": "DELETE FROM turns WHERE session = 1 AND number = 2",
    "a call gone": "DELETE FROM calls WHERE session = 1 AND ordinal = 1",
    "a usage row gone": "DELETE FROM usage WHERE session = 1 AND number = 2",
    "which answer a turn had": "UPDATE turns SET answer_seq = 3 WHERE session = 1 AND number = 2",
    "which input a turn worked on": "UPDATE turns SET origin = 1, request_id = NULL WHERE session = 1 AND number = 2",
    "a folded message active again": "UPDATE messages SET state = 'active', folded_by = NULL WHERE session = 1 "
    "AND seq = 3",
    "a whole result gone": "DELETE FROM outputs",
    "a whole result moved to another": "UPDATE outputs SET seq = 7",
    "a result gone": "DELETE FROM messages WHERE session = 1 AND seq = 7",
    "a time that is none": "UPDATE sessions SET updated_at = 9223372036854775807 WHERE key = 1",
}


@pytest.mark.parametrize("what", MOVED)
async def test_a9_a_row_that_was_moved_or_is_gone_is_told(what: str, original: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(original, tmp_path / "sample.db"))
    before = await read_all(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(MOVED[what])
    after = await read_all(path)
    assert not [name for name in before if not told_apart(name, before[name], after[name])]
    told = {name for name, (kind, _) in after.items() if kind == "error"}
    assert told, "nobody has noticed"
    assert not [name for name in told if name.endswith("gamma") and what != "a session's number"]


async def test_a9_the_stored_outcome_of_a_request_is_that_of_its_own_turn(original: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(original, tmp_path / "sample.db"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE turns SET origin = 1 WHERE session = 1 AND number = 3")
        connection.commit()
    async with StatefulAgentLoop(llm=ScriptedLLM(), db_path=path) as loop:
        with pytest.raises(StoreDamagedError):
            await loop.send("hello", "alpha", request_id="first")


async def test_a9_any_bit_of_the_file_is_read_as_it_was_or_told(original: Path, tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    before = await read_all(original)
    wires = {
        session: [message["body"] for message in before[f"get_messages of {session}"][1]] for session in sample.SESSIONS
    }
    noticed, size = 0, len(files(original)["sample.db"] or b"")
    for number in range(FLIPS):
        bit = random_.randrange(size * 8)
        path = flipped(original, tmp_path / f"{number}.db", bit)
        try:
            after = await read_all(path)
        except StoreError:
            noticed += 1
            cleared(tmp_path)
            continue
        wrong = [name for name in before if not told_apart(name, before[name], after[name])]
        assert not wrong, f"bit {bit} (flip {number} of seed {SEED}): {wrong}"
        noticed += any(kind == "error" for kind, _ in after.values())
        llm = ScriptedLLM(["fine"])
        async with StatefulAgentLoop(llm=llm, db_path=path) as loop:
            try:
                await loop.send("and now?", "alpha")
            except PowerLoopError:
                pass
            else:
                assert list(llm.requests[0].messages[:-1]) == wires["alpha"], f"bit {bit}"
        cleared(tmp_path)
    assert noticed >= FLIPS // 20, "hardly any of the flips hit anything"
