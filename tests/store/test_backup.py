"""A backup is one moment of a database that others write; a restore is that moment again, or nothing happened."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import SessionState, StatefulAgentLoop, Status
from power_loop.errors import StoreBusyError, StoreDamagedError, StoreError, StoreOpenError
from power_loop.store import backup, restore
from power_loop.store.sqlite.doctor import Grade, examine
from power_loop.testing.crash import CrashPoints
from power_loop.values import World
from tests.damaged.make import CORPUS, damaged
from tests.store import sample
from tests.store.kit import PRELUDE, ROOT, a_loop, assert_sound, beside, child, dump, says, tell

WRITER = """
async def main():
    "Turns in several sessions at once, until killed or told to stop; says each session's acknowledged turns."
    loop = StatefulAgentLoop(llm=ScriptedLLM([lambda request: says("word " * 300)] * 100_000), db_path=sys.argv[1])
    done = [0] * 4
    async def talk(number):
        name = f"s{number}"
        await loop.create_session(name)
        while not stop.is_set():
            await loop.send(f"turn {done[number]} " + "of the user " * 50, name)
            done[number] += 1
            if sum(done) == 20:
                print("warm", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stop.set)
    await asyncio.gather(*map(talk, range(4)))
    await loop.aclose()
    print(sum(done), flush=True)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(sample.write(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def home(tmp_path: Path, whole: Path) -> Path:
    """A database of every kind of row, in a folder of its own."""
    path = tmp_path / "home" / "agent.db"
    path.parent.mkdir()
    path.write_bytes(whole.read_bytes())
    return path


def table(path: Path, name: str, order: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT * FROM {name} ORDER BY {order}").fetchall()


def is_healthy(path: Path) -> bool:
    return all(finding.grade is not Grade.BAD for finding in examine(path))


def test_a_backup_at_rest_equals_its_source_in_every_row(home: Path, tmp_path: Path) -> None:
    copied = backup(home, tmp_path / "safe.db")
    assert dump(tmp_path / "safe.db") == dump(home)
    assert (copied.sessions, copied.messages, copied.kept) == (5, 26, None)
    assert copied.bytes == (tmp_path / "safe.db").stat().st_size
    assert (tmp_path / "safe.db").stat().st_mode & 0o777 == 0o600
    assert beside(tmp_path / "safe.db") == ["home", "safe.db"]  # no log, no owners, nothing hidden
    assert is_healthy(tmp_path / "safe.db")


async def test_a_backup_opens_resumes_and_sends(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "safe.db")
    async with StatefulAgentLoop(db_path=tmp_path / "safe.db") as loop:
        assert len(await loop.list_sessions()) == len(sample.SESSIONS)
    assert beside(tmp_path / "safe.db") == ["home", "safe.db"]
    async with a_loop(tmp_path / "safe.db", ["went on", "hello"]) as loop:
        assert (await loop.get_session("delta")).state is SessionState.INTERRUPTED_BEFORE_MODEL
        assert (await loop.resume("delta")).final_text == "went on"
        assert await loop.abort_pending("gamma") == ["call_1"]
        assert (await loop.send("hi", "gamma")).status is Status.COMPLETED
    assert is_healthy(tmp_path / "safe.db")


@pytest.mark.acceptance("A2", "A6")
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
def test_a_backup_during_writes_is_one_moment_of_the_source(tmp_path: Path, killed: bool) -> None:
    """Every session of each backup is a prefix of the final one, and each is as old as its turns say."""
    path = tmp_path / "agent.db"
    copies = [tmp_path / f"{number}.db" for number in range(4)]
    with child(WRITER, path) as writer:
        says(writer, "warm")
        counts = [backup(path, copy).messages for copy in copies]
        if killed:
            writer.kill()
        else:
            tell(writer)
        writer.wait(60)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1], "the writer wrote nothing while it was copied"
    final = {name: set(table(path, name, order)) for name, order in (("messages", "1, 2"), ("usage", "1, 2"))}
    for copy in copies:
        assert is_healthy(copy)  # all invariants: no turn without its messages, no number left out
        assert_sound(copy)
        for name, rows in final.items():
            assert set(table(copy, name, "1, 2")) <= rows
        for key, seq in table_of_ends(copy):
            assert seq == len([row for row in table(copy, "messages", "1, 2") if row[0] == key])


def table_of_ends(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT key, next_seq - 1 FROM sessions").fetchall()


def test_the_writer_goes_on_while_a_backup_reads(tmp_path: Path) -> None:
    """The copy is held at its first step until the writer has committed more, which comes into no backup."""
    path, copy = tmp_path / "agent.db", tmp_path / "safe.db"
    with child(WRITER, path) as writer:
        says(writer, "warm")
        seen: list[int] = []

        def reached(name: str) -> None:
            if name == "backup.step" and not seen:
                before = len(table(path, "messages", "1, 2"))
                while len(table(path, "messages", "1, 2")) < before + 20:
                    pass
                seen.append(before)

        copied = backup(path, copy, world=World(reached=reached))
        writer.kill()
    assert copied.messages <= seen[0] < len(table(path, "messages", "1, 2"))
    assert is_healthy(copy)


def test_the_doctor_finds_nothing_bad_beside_a_busy_writer(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with child(WRITER, path) as writer:
        says(writer, "warm")
        before = len(table(path, "messages", "1, 2"))
        for _ in range(3):
            found = {finding.name: finding for finding in examine(path)}
            assert [finding for finding in found.values() if finding.grade is Grade.BAD] == []
        writer.kill()
    assert len(table(path, "messages", "1, 2")) > before


def test_there_is_a_file_already(home: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe.db"
    safe.write_text("precious")
    with pytest.raises(StoreOpenError) as refused:
        backup(home, safe)
    assert refused.value.code == "store.exists"
    assert safe.read_text() == "precious"
    backup(home, safe, force=True)
    assert dump(safe) == dump(home)


@pytest.mark.parametrize("tail", ["-wal", "-shm", "-journal", ".owners"])
def test_a_database_in_use_is_never_replaced_by_a_backup(home: Path, tmp_path: Path, tail: str) -> None:
    used = tmp_path / "used.db"
    backup(home, used)
    Path(f"{used}{tail}").touch()
    with pytest.raises(StoreOpenError) as refused:
        backup(home, used, force=True)
    assert refused.value.code == "store.exists"
    assert "restore" in refused.value.way_out


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("home/agent.db", "home/agent.db", "store.exists"),
        ("home/agent.db", "nowhere/safe.db", "store.open"),
        ("home/agent.db", "home", "store.exists"),
        ("nothing.db", "safe.db", "store.not_found"),
        ("diary", "safe.db", "store.open"),
    ],
)
def test_what_cannot_be_copied_is_refused(home: Path, tmp_path: Path, source: str, target: str, code: str) -> None:
    (tmp_path / "diary").write_text("Dear diary, " * 900)
    before = beside(tmp_path / "x"), beside(home)
    with pytest.raises(StoreError) as refused:
        backup(tmp_path / source, tmp_path / target)
    if target.startswith("home"):
        assert refused.value.code in (code, "store.open")
    else:
        assert refused.value.code == code
    assert (beside(tmp_path / "x"), beside(home)) == before


@pytest.mark.parametrize("name", ["checksum_messages_body", "protocol", "damaged_index", "truncated", "missing_view"])
def test_a_damaged_database_gives_no_backup_and_a_damaged_backup_is_not_restored(
    whole: Path, home: Path, tmp_path: Path, name: str
) -> None:
    bad = damaged(whole, tmp_path / "bad", CORPUS[name])
    before = dump(home)
    with pytest.raises(StoreDamagedError):
        backup(bad, tmp_path / "safe.db")
    for dry_run in (True, False):
        with pytest.raises(StoreDamagedError):
            restore(bad, home, force=True, dry_run=dry_run)
    assert not (tmp_path / "safe.db").exists()
    assert [entry for entry in beside(home) if not entry.endswith(("-wal", "-shm"))] == ["agent.db"]
    assert dump(home) == before


def test_a_restore_is_the_backup_and_keeps_what_was_there(home: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe.db"
    backup(home, safe)
    then = dump(home)
    asyncio.run(one_more(home))
    now = dump(home)
    assert now != then
    with pytest.raises(StoreOpenError) as refused:
        restore(safe, home)
    assert refused.value.code == "store.exists"
    tried = restore(safe, home, force=True, dry_run=True)
    assert dump(home) == now
    done = restore(safe, home, force=True)
    assert done == tried
    assert done.kept == f"{home}.before-restore"
    assert (dump(home), dump(Path(done.kept))) == (then, now)
    assert beside(home) == ["agent.db", "agent.db.before-restore"]
    assert home.stat().st_mode & 0o777 == 0o600
    again = restore(Path(done.kept), home, force=True)
    assert again.kept == f"{home}.before-restore.2"
    assert (dump(home), dump(Path(again.kept))) == (now, then)


async def one_more(path: Path) -> None:
    async with a_loop(path, ["and more"]) as loop:
        await loop.send("more", "alpha")


@pytest.mark.parametrize(
    "name",
    ["not_a_database", "empty_file", "truncated", "log_of_noise", "directory", "missing_file", "missing_file_with_log",
     "header_overwritten"],
)  # fmt: skip
def test_a_restore_takes_the_place_of_whatever_is_left(whole: Path, tmp_path: Path, name: str) -> None:
    bad = damaged(whole, tmp_path / "bad", CORPUS[name])
    was = bad.read_bytes() if bad.is_file() else None
    if name == "directory":
        with pytest.raises(StoreOpenError):
            restore(whole, bad, force=True)
        return
    done = restore(whole, bad, force=True)
    assert dump(bad) == dump(whole)
    assert not bad.with_name("agent.db-wal").exists() or not bad.with_name("agent.db-wal").stat().st_size
    if was is None:
        assert done.kept is None
    else:
        assert done.kept is not None
        assert name == "log_of_noise" or Path(done.kept).read_bytes() == was
    if name == "missing_file_with_log":
        assert bad.with_name("agent.db.before-restore.log-wal").read_bytes() == b"what is left"


HOLDER = """
async def main():
    loop = StatefulAgentLoop(llm=ScriptedLLM(["x"] * 9), db_path=sys.argv[1])
    await (loop.list_sessions() if sys.argv[2] == "looks" else loop.send("hi", "beta", on_pending="abort"))
    print("open", flush=True)
    sys.stdin.readline()
    print((await loop.send("late", "beta")).status, flush=True)
    await loop.aclose()
asyncio.run(main())
"""


@pytest.mark.acceptance("C6")
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("how", ["looks", "owns"])
def test_a_database_that_somebody_has_open_is_not_replaced(
    home: Path, whole: Path, tmp_path: Path, how: str, stopped: bool
) -> None:
    with child(HOLDER, home, how) as holder:
        says(holder, "open")
        before = dump(home)
        if stopped:
            os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(StoreBusyError) as refused:
            restore(whole, home, force=True)
        assert refused.value.way_out
        os.kill(holder.pid, signal.SIGCONT)
        assert dump(home) == before
        tell(holder)
        says(holder, "completed")
        holder.wait(60)
    restore(whole, home, force=True)
    assert dump(home) == dump(whole)


async def test_a_store_of_this_very_process_keeps_its_database(home: Path, whole: Path) -> None:
    async with StatefulAgentLoop(llm=ScriptedLLM(["x"] * 9), db_path=home) as loop:
        await loop.list_sessions()
        with pytest.raises(StoreBusyError):
            await asyncio.to_thread(restore, whole, home, force=True)
        assert (await loop.send("hi", "beta")).status is Status.COMPLETED


def test_owners_of_the_dead_are_cleared(home: Path, whole: Path) -> None:
    with child(HOLDER, home, "owns") as holder:
        says(holder, "open")
        holder.kill()
        holder.wait()
    assert home.with_name("agent.db.owners").is_dir()
    restore(whole, home, force=True)
    assert beside(home) == ["agent.db", "agent.db.before-restore"]


LATE = """
from power_loop.store import open_store
async def main():
    try:
        store = await open_store(sys.argv[1], busy_timeout=30)
    except StoreError as error:
        print(error.code, flush=True)
    else:
        await store.aclose()
        print("opened", flush=True)
asyncio.run(main())
"""


async def test_who_waits_for_a_file_that_a_restore_replaces_opens_no_old_one(home: Path, whole: Path) -> None:
    """Another process meets the lock of the restore; it opens the new file, or hears that the old one is gone."""
    waiting: list[Any] = []

    def reached(name: str) -> None:
        if name == "restore.kept":
            command = [sys.executable, "-c", PRELUDE + LATE, str(home)]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
            waiting.append(process)
            while str(home) not in opened_by(process.pid):
                assert process.poll() is None

    await asyncio.to_thread(restore, whole, home, force=True, world=World(reached=reached))
    with waiting[0] as process:
        said = process.communicate(timeout=60)[0].strip()
    assert said in ("store.gone", "opened")
    assert beside(home) == ["agent.db", "agent.db.before-restore"]
    assert dump(home) == dump(whole)
    assert_sound(home)


def opened_by(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link))
    return found


COPY = """
from power_loop.store import backup, restore
from power_loop.testing.crash import CrashPoints
points = CrashPoints(kill_at=(sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 4 else None)
{"backup": backup, "restore": restore}[sys.argv[1]](sys.argv[2], sys.argv[3], force=True, world=World(reached=points))
"""


@pytest.mark.acceptance("A2")
@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_kill_leaves_the_old_or_the_new(home: Path, whole: Path, tmp_path: Path, verb: str) -> None:
    """Killed at every point, and run again."""
    old, source = dump(home), tmp_path / "newer.db"
    backup(whole, source)
    asyncio.run(one_more(source))
    new = dump(source)
    points = CrashPoints()
    safe = tmp_path / "rehearsal" / "agent.db"
    safe.parent.mkdir()
    safe.write_bytes(home.read_bytes())
    {"backup": backup, "restore": restore}[verb](source, safe, force=True, world=World(reached=points))
    named = [point for point in points.passed if point.name.split(".")[0] in ("backup", "restore")]
    assert {point.name for point in named} > {"backup.copied", "backup.checked", "backup.step"}
    outcomes = set()
    for number, point in enumerate(named):
        path = tmp_path / str(number) / "agent.db"
        path.parent.mkdir()
        path.write_bytes(home.read_bytes())
        arguments = [verb, str(source), str(path), point.name, str(point.nth)]
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + COPY, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == -signal.SIGKILL
        found = dump(path)
        assert found in (old, new)
        outcomes.add(found == new)
        assert is_healthy(path)
        for tail in ("-wal", "-shm"):  # of this test's own look at it
            path.with_name(path.name + tail).unlink(missing_ok=True)
        {"backup": backup, "restore": restore}[verb](source, path, force=True)
        assert dump(path) == new
        assert not [entry for entry in beside(path) if entry.startswith(".")]
    assert outcomes == {True, False}
