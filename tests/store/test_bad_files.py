"""What cannot be a store is refused with a typed error that names the path and the way out; nothing is touched."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_client.scripted import ScriptedLLM
from power_loop import StatefulAgentLoop, StoreDamagedError, StoreError, open_store
from power_loop.errors import StoreOpenError, StoreReadOnlyError
from power_loop.store.sqlite.store import SqliteStore
from tests.store import sample
from tests.store.kit import PRELUDE, ROOT, a_loop, assert_sound, beside, dump, files, run

pytestmark = pytest.mark.acceptance("A7")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(sample.write(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def no_database(path: Path, whole: Path) -> None:
    path.write_text("Dear diary, this is no database, but it is mine and I want to keep it. " * 40)


def of_another(path: Path, whole: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE photos (name); INSERT INTO photos VALUES ('us');")


def of_another_with_wal(path: Path, whole: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE photos (name);")


def truncated(path: Path, whole: Path) -> None:
    path.write_bytes(whole.read_bytes()[:-9000])


def truncated_to_a_page(path: Path, whole: Path) -> None:
    path.write_bytes(whole.read_bytes()[:4096])


def truncated_in_its_header(path: Path, whole: Path) -> None:
    path.write_bytes(whole.read_bytes()[:50])


def first_page_damaged(path: Path, whole: Path) -> None:
    raw = bytearray(whole.read_bytes())
    raw[100:140] = bytes(40)
    path.write_bytes(raw)


def log_of_one_that_is_gone(path: Path, whole: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(random.Random(1).randbytes(4152))


def log_beside_an_empty_file(path: Path, whole: Path) -> None:
    path.touch()
    log_of_one_that_is_gone(path, whole)


BAD: dict[str, tuple[Callable[[Path, Path], object], str, bool]] = {
    # how to make it, the code, whether sqlite3 had something to say
    "a directory": (lambda path, _: path.mkdir(), "store.open", False),
    "a FIFO": (lambda path, _: os.mkfifo(path), "store.open", False),
    "0 bytes": (lambda path, _: path.touch(), "store.empty_file", False),
    "not a database": (no_database, "store.open", True),
    "another application's": (of_another, "store.foreign", False),
    "another application's, with a log": (of_another_with_wal, "store.foreign", False),
    "truncated": (truncated, "store.damaged", True),
    "truncated to a page": (truncated_to_a_page, "store.damaged", True),
    "truncated in its header": (truncated_in_its_header, "store.damaged", True),
    "its first page damaged": (first_page_damaged, "store.damaged", True),
    "a link in a circle": (lambda path, _: path.symlink_to(path), "store.open", False),
    "the log of one that is gone": (log_of_one_that_is_gone, "store.leftover", False),
    "the log of one that is gone, and an empty file": (log_beside_an_empty_file, "store.leftover", False),
}


@pytest.mark.parametrize("what", BAD)
async def test_a7_a_bad_file_is_refused_and_left_as_it_is(home: Path, whole: Path, what: str) -> None:
    make, code, by_sqlite = BAD[what]
    path = home / "agent.db"
    make(path, whole)
    before = files(path)
    create = True if code == "store.leftover" else None
    for attempt in range(2):
        loop = StatefulAgentLoop(llm=ScriptedLLM(["x"]), db_path=path, create=create)
        with pytest.raises(StoreError) as caught:
            await (open_store(path, create=create) if attempt else loop.send("hi"))
        await loop.aclose()
        error = caught.value
        assert error.code == code
        assert error.path == str(path)
        assert str(error).startswith(f"{path}: ")
        assert error.way_out
        assert isinstance(error.__cause__, sqlite3.Error) == by_sqlite
        assert files(path) == before


@pytest.mark.parametrize("given", ["", ":memory:", "file:agent.db", "a\x00b", b"", None, 7], ids=repr)
async def test_a7_what_names_no_file_is_refused(home: Path, given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(StoreOpenError) as caught:
        await open_store(given)
    assert caught.value.code == "store.open"
    assert beside(home / "x") == []


@pytest.mark.parametrize(
    ("where", "create", "code"),
    [
        ("missing/agent.db", None, "store.open"),
        ("agent.db", False, "store.not_found"),
        ("file/agent.db", None, "store.open"),
        (f"{'x' * 300}.db", None, "store.open"),
        ("dangling.db", False, "store.not_found"),
    ],
)
async def test_a7_a_path_that_leads_nowhere_is_refused(home: Path, where: str, create: bool | None, code: str) -> None:
    (home / "file").write_text("a file")
    (home / "dangling.db").symlink_to(home / "gone.db")
    before = files(home / "x")
    with pytest.raises(StoreOpenError) as caught:
        await open_store(home / where, create=create)
    assert caught.value.code == code
    assert files(home / "x") == before
    with pytest.raises(StoreOpenError):
        await open_store(home / where, read_only=True)
    assert files(home / "x") == before


@pytest.mark.parametrize(
    "name",
    ["what?.db", "a#b.db", "100%.db", "50%20off.db", "with spaces .db", "\N{SNOWMAN} é \N{GRINNING FACE}.db",
     "it's \"x\".db", "a&mode=ro.db", "-wal", os.fsdecode(b"latin-\xe9.db"), "..db", "a;b\\c.db", "x" * 200],
    ids=ascii,
)  # fmt: skip
async def test_a7_any_name_of_a_file_will_do(home: Path, name: str) -> None:
    path = home / name
    async with a_loop(path, ["hello"]) as loop:
        await loop.create_session("s")
        await loop.send("hi", "s")
        assert all(entry.startswith(name) for entry in beside(path))
    assert beside(path) == [name]
    async with StatefulAgentLoop(db_path=path, create=False) as loop:
        assert len(await loop.get_messages("s")) == 2


async def test_a7_an_empty_file_is_taken_when_that_is_asked_for(home: Path) -> None:
    path = home / "agent.db"
    path.touch()
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=path, create=True) as loop:
        await loop.create_session("s")
    async with StatefulAgentLoop(db_path=path, create=True) as loop:
        assert (await loop.get_session("s")).session_id == "s"
    assert beside(path) == ["agent.db"]


async def test_a7_several_that_begin_anew_in_one_empty_file_share_it(home: Path) -> None:
    """Nobody's database is put in the place of one that another has just begun."""
    for round_ in range(5):
        path = home / f"{round_}.db"
        make_empty(path)
        loops = [StatefulAgentLoop(db_path=path, create=True) for _ in range(6)]
        await asyncio.gather(*(loop.create_session(f"{round_}-{number}") for number, loop in enumerate(loops)))
        assert len(dump(path)["sessions"]) == 6
        await asyncio.gather(*(loop.aclose() for loop in loops))


async def test_a7_a_link_and_its_target_are_one_store(home: Path) -> None:
    path, link = home / "agent.db", home / "link.db"
    link.symlink_to(path)
    stores = [await open_store(link), await open_store(path)]
    assert [store.path for store in stores] == [str(path), str(path)]
    for store in stores:
        await store.aclose()
    assert beside(path) == ["agent.db", "link.db"]


async def test_a7_a_log_left_by_a_kill_is_taken_up(home: Path) -> None:
    path = home / "agent.db"
    code, said = run(
        """
async def main():
    loop = StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=sys.argv[1])
    await loop.create_session("s")
    await loop.send("hi", "s")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
""",
        path,
    )
    assert (code, said) == (-9, "")
    assert (files(path)["agent.db-wal"] or b"") != b""
    async with StatefulAgentLoop(db_path=path) as loop:
        assert [message.text for message in await loop.get_messages("s")] == ["hi", "hello"]
    async with a_loop(path, ["hello again"]) as loop:
        await loop.send("hi again", "s")
    assert beside(path) == ["agent.db"]  # the lock of the dead one is gone too


async def test_a7_a_damaged_page_is_told_where_it_is_read_and_the_rest_stays(home: Path) -> None:
    path = home / "agent.db"
    async with a_loop(path, ["hello"]) as loop:
        for name in ("s", "t"):
            await loop.create_session(name, system_prompt=f"{name} " * 30_000)
    raw = bytearray(files(path)["agent.db"] or b"")
    at = raw.index(b"s s s s s s") + 8000
    raw[at // 4096 * 4096 : at // 4096 * 4096 + 4096] = random.Random(1).randbytes(4096)
    write(path, raw)
    async with StatefulAgentLoop(db_path=path) as loop:
        with pytest.raises(StoreDamagedError):
            await loop.get_messages("s")
        assert (await loop.get_messages("t"))[0].text == "t " * 30_000
    assert files(path)["agent.db"] == bytes(raw)


def write(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)


UNPRIVILEGED = """
def main():
    path, what = sys.argv[1:3]
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    async def work():
        try:
            async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=path) as loop:
                await loop.send("hi", "s")
        except StoreError as error:
            print(error.code, type(error.__cause__).__module__, error.path == path, bool(error.way_out))
    asyncio.run(work())
main()
"""


@pytest.fixture
def public(whole: Path) -> Iterator[Path]:
    """A database in a folder of a user without rights (ours, if we are one)."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    owner = 65534 if os.getuid() == 0 else os.getuid()
    shutil.copy(whole, folder / "agent.db")
    for place in (folder, folder / "agent.db"):
        os.chown(place, owner, -1)
    yield folder / "agent.db"
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("file", "folder", "heard"),
    [
        (0o400, 0o700, "store.read_only sqlite3 True True"),
        (0o600, 0o500, "store.read_only sqlite3 True True"),
        (0o400, 0o500, "store.read_only sqlite3 True True"),
        (0o000, 0o700, "store.read_only sqlite3 True True"),
        (0o600, 0o000, "store.open builtins True True"),
    ],
    ids=["read-only file", "read-only folder", "both", "unreadable file", "closed folder"],
)
def test_a7_without_permission_nothing_is_touched(public: Path, file: int, folder: int, heard: str) -> None:
    before = files(public)
    public.chmod(file)
    public.parent.chmod(folder)
    code, said = run(UNPRIVILEGED, public, "")
    public.parent.chmod(0o700)
    public.chmod(0o600)
    assert (code, said.strip()) == (0, heard)
    assert files(public) == before


async def test_a7_a_store_opened_for_reading_refuses_to_write(whole: Path, home: Path) -> None:
    path = Path(shutil.copy(whole, home / "agent.db"))
    before = files(path)["agent.db"]
    store = await open_store(path, read_only=True)
    async with StatefulAgentLoop(llm=ScriptedLLM(["x"]), store=store) as loop:
        assert (await loop.get_messages("alpha"))[-1].text == "after the fold"
        for write_ in (
            loop.send("hi", "alpha"),
            loop.create_session("new"),
            loop.resume("gamma"),
            loop.abort_pending("gamma"),
            loop.delete_session("alpha"),
            loop.archive_session("alpha"),
            loop.close_session("alpha"),
            loop.request_stop("alpha"),
        ):
            with pytest.raises(StoreReadOnlyError) as caught:
                await write_
            assert caught.value.code == "store.read_only"
    await store.aclose()
    assert files(path)["agent.db"] == before


FULL_DISK = """
import subprocess
from power_loop.errors import StoreFullError
def main():
    where = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", where], check=True)
    path, filler = os.path.join(where, "agent.db"), os.path.join(where, "filler")
    def fill(leave):
        file = os.open(filler, os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(file, bytes(4096))
        except OSError:
            os.close(file)
        os.truncate(filler, max(0, os.path.getsize(filler) - leave))
    async def work():
        llm = ScriptedLLM(["hello"] * 10)
        async with StatefulAgentLoop(llm=llm, db_path=path) as loop:
            await loop.create_session("s")
            await loop.send("one", "s")
            fill(8192)
            try:
                while True:
                    await loop.send("x" * 20_000, "s")
            except StoreFullError as error:
                print(error.code, type(error.__cause__).__name__, error.path == path)
            texts = [message.text for message in await loop.get_messages("s")]
            print(texts[:2], len(set(map(len, texts[2::2]))) <= 1, flush=True)
            try:
                await loop.create_session("t", system_prompt="y" * 50_000)
            except StoreFullError as error:
                print("still", error.code)
            os.unlink(filler)
            result = await loop.send("two", "s", on_pending="abort")
            print(result.status)
        print(sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()[0])
        for entry in os.listdir(where):
            os.unlink(os.path.join(where, entry))
        fill(8192)
        try:
            await open_store(path)
        except StoreFullError as error:
            print("new", error.code, os.listdir(where))
    asyncio.run(work())
main()
"""


def test_a7_a_full_disk_loses_nothing_and_works_again_once_there_is_room(home: Path) -> None:
    """On a file system of its own, in a mount namespace of its own."""
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", str(home)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; the test below fills a file instead")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", PRELUDE + FULL_DISK, str(home)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "store.full OperationalError True",
        "['one', 'hello'] True",
        "still store.full",
        "completed",
        "ok",
        "new store.full ['filler']",
    ], done.stderr


async def test_a7_a_file_that_may_not_grow_loses_nothing_and_works_again_once_it_may(home: Path) -> None:
    """The same, with a limit on the number of pages: everywhere, and as any user."""
    path = home / "agent.db"
    store = await open_store(path)
    assert isinstance(store, SqliteStore)
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"] * 10), store=store) as loop:
        await loop.create_session("s")
        await loop.send("one", "s")
        pages = await limit(store, 0)
        before = dump(path)
        await limit(store, pages)
        with pytest.raises(StoreError) as caught:
            await loop.send("x" * 50_000, "s")
        assert caught.value.code == "store.full"
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert dump(path) == before
        await limit(store, 1_000_000)
        assert (await loop.send("x" * 50_000, "s")).final_text == "hello"
    await store.aclose()
    assert_sound(path)


def make_empty(path: Path) -> None:
    path.touch()


async def limit(store: SqliteStore, pages: int) -> int:
    """Set how many pages the file may have; how many it has."""
    thread = store._threads[0]

    def on_the_thread() -> int:
        thread.raw.execute(f"PRAGMA max_page_count = {pages}").fetchone()
        found: int = thread.raw.execute("PRAGMA page_count").fetchone()[0]
        return found

    return await thread.call(on_the_thread)
