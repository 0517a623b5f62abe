"""The power goes at any system call: with FULL nothing acknowledged is lost, with NORMAL it is, and this can tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.power import strace
from tests.power.cuts import SCENARIOS, Tally, sweep
from tests.power.disk import PAGE, SECTOR, Disk
from tests.power.recording import Call

pytestmark = pytest.mark.acceptance("A1", "A3")
traced = pytest.mark.skipif(strace.missing() is not None, reason=str(strace.missing()))

SEED = 20261121


def failures(tallies: dict[str, Tally]) -> list[str]:
    return [f"{cut.command()}: {cut.problems[:3]}" for tally in tallies.values() for cut in tally.failed]


@traced
def test_with_full_everything_acknowledged_is_there_wherever_the_power_goes() -> None:
    tallies = sweep([name for name in SCENARIOS if name != "checkpoint"], 112, seed=SEED)
    tallies |= sweep(["checkpoint"], 8, seed=SEED)
    assert failures(tallies) == []
    cut = [what for tally in tallies.values() for what in tally.moments]
    assert {"pwrite64", "fdatasync began", "fdatasync ended", "write"} <= set(cut)
    assert all(tally.cuts for tally in tallies.values())


@traced
def test_with_normal_commits_are_lost_but_no_file_is_broken() -> None:
    tallies = sweep(["short", "compaction", "together", "reopened"], 60, seed=SEED, synchronous="NORMAL")
    assert sum(tally.lost for tally in tallies.values()) > 0, "this test could not see a loss"
    assert sum(tally.broken for tally in tallies.values()) == 0, failures(tallies)


@traced
def test_on_a_disk_that_does_not_flush_files_are_seen_to_break() -> None:
    tallies = sweep(["compaction", "reopened"], 40, seed=SEED, lies=True)
    assert sum(tally.broken for tally in tallies.values()) > 0, "this test could not see a broken file"


Add = Callable[..., None]


@pytest.fixture
def calls() -> list[Call]:
    return []


@pytest.fixture
def did(calls: list[Call]) -> Add:
    """Make a system call; it begins and ends before the next does."""

    def add(name: str, *arguments: bytes | str, result: int = 0) -> None:
        calls.append(Call(name, arguments, result, 2 * len(calls), 2 * len(calls) + 1))

    return add


def left(calls: list[Call]) -> list[dict[str, bytes]]:
    """What a hundred cuts at the end leave behind."""
    disk = Disk(Path("/db"), Path("/ledger"), 9, {})
    assert list(disk.play(calls))[-1] == "the end"
    return [disk.cut(random.Random(seed)).files for seed in range(100)]


def test_what_was_flushed_survives_every_cut(calls: list[Call], did: Add) -> None:
    did("openat", "AT_FDCWD", b"/db/agent.db", "O_RDWR|O_CREAT", result=3)
    did("openat", "AT_FDCWD", b"/db", "O_RDONLY|O_DIRECTORY", result=4)
    did("pwrite64", "3", b"a" * PAGE, str(PAGE), "0", result=PAGE)
    did("fdatasync", "3")
    did("fsync", "4")
    assert left(calls) == [{"agent.db": b"a" * PAGE}] * 100


def test_what_was_not_flushed_survives_in_any_part(calls: list[Call], did: Add) -> None:
    did("openat", "AT_FDCWD", b"/db/agent.db", "O_RDWR|O_CREAT", result=3)
    did("openat", "AT_FDCWD", b"/db", "O_RDONLY|O_DIRECTORY", result=4)
    did("fsync", "4")
    did("pwrite64", "3", b"a" * PAGE, str(PAGE), "0", result=PAGE)
    did("pwrite64", "3", b"b" * PAGE, str(PAGE), str(PAGE), result=PAGE)
    contents = {files["agent.db"] for files in left(calls)}
    assert {b"", b"a" * PAGE, b"a" * PAGE + b"b" * PAGE} <= contents
    assert bytes(PAGE) + b"b" * PAGE in contents, "the second without the first"
    assert any(0 < content.count(b"a") < PAGE and content.count(b"a") % SECTOR == 0 for content in contents), "torn"


def test_a_name_survives_only_with_its_folder(calls: list[Call], did: Add) -> None:
    did("openat", "AT_FDCWD", b"/db/.new", "O_RDWR|O_CREAT", result=3)
    did("pwrite64", "3", b"whole", "5", "0", result=5)
    did("fdatasync", "3")
    did("link", b"/db/.new", b"/db/agent.db")
    found = left(calls)
    assert {"agent.db" in files for files in found} == {True, False}
    assert {files["agent.db"] for files in found if "agent.db" in files} == {b"whole"}


def test_a_flush_that_failed_is_not_made_up_for_by_the_next(calls: list[Call], did: Add) -> None:
    did("openat", "AT_FDCWD", b"/db/agent.db", "O_RDWR|O_CREAT", result=3)
    did("openat", "AT_FDCWD", b"/db", "O_RDONLY|O_DIRECTORY", result=4)
    did("fsync", "4")
    did("pwrite64", "3", b"lost", "4", "0", result=4)
    did("fdatasync", "3", result=-1)
    did("fdatasync", "3")
    assert left(calls) == [{"agent.db": b""}] * 100
