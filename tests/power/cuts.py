"""`python -m tests.power.cuts --cuts 2000 --seed 1 --jobs 2`: cut the power at any system call, look at what is left.

Every scenario runs under strace a few times; the files are rebuilt for cuts at seeded system calls, with seeded parts
of what was not flushed. Prints a line a scenario. Fails if something acknowledged is lost with FULL, or a file is
broken with FULL or NORMAL. `--scenario NAME --seed S --cut N` does one cut again and keeps its files.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.power import strace
from tests.power.disk import After, Disk
from tests.power.oracle import Problem
from tests.power.recording import Call, record
from tests.power.scenario import KINDS, Place, scenario
from tests.power.verdict import Way, judge

CREATION: Final = "creation"
"""The short scenario, cut before its first acknowledgement; the others are cut after it, an upgrade anywhere."""
UPGRADE: Final = "upgrade"
FAILING: Final = "failing"
"""The compaction scenario; one of its flushes fails, and what it would have flushed is never flushed any more."""
_KIND: Final = {CREATION: "short", FAILING: "compaction"}
SCENARIOS: Final = (CREATION, *(kind for kind in KINDS if kind != "turn"), FAILING)
_MEMORY: Final = Path("/dev/shm")
_A_RECORDING: Final = 40
"""Cuts of one recording: then the next seed runs."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some cuts of one recording."""

    name: str
    seed: int
    synchronous: str
    cuts: tuple[int, ...]
    lies: bool = False
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One cut and what was wrong after it. `at` names the system call that did not happen any more."""

    name: str
    seed: int
    synchronous: str
    number: int
    at: str
    way: Way
    problems: list[Problem]
    files: str

    def command(self) -> str:
        return (
            f"python -m tests.power.cuts --scenario {self.name} --seed {self.seed} --cut {self.number} "
            f"--synchronous {self.synchronous}"
        )


@dataclass
class Tally:
    cuts: int = 0
    lost: int = 0
    broken: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    failed: list[Cut] = field(default_factory=list)

    def add(self, cut: Cut) -> None:
        kinds = {problem.kind for problem in cut.problems}
        self.cuts += 1
        self.lost += "lost" in kinds
        self.broken += "broken" in kinds
        self.moments[cut.at] += 1
        if kinds:
            self.failed.append(cut)

    def words(self) -> str:
        return f"{self.cuts} cuts, {self.lost} lost something acknowledged, {self.broken} broken"


def run(batch: Batch) -> list[Cut]:
    """Record a scenario, and judge the cuts. Forks: for a process of one thread."""
    of = scenario(_KIND.get(batch.name, batch.name), batch.seed)
    scratch = Path(tempfile.mkdtemp(prefix="cuts-", dir=_MEMORY if _MEMORY.is_dir() else None))
    found = []
    try:
        live = Place(scratch / "live")
        base = {}
        if of.base is not None:
            live.files.mkdir(parents=True)
            shutil.copyfile(of.base, live.database)
            base = {live.database.name: of.base.read_bytes()}
        # Somewhere after the file was made, where the app would have to give up.
        nth = random.Random(batch.seed).randrange(14, 42)
        fault = f"fdatasync:error=EIO:when={nth}" if batch.name == FAILING else None
        calls = record(of, live, batch.synchronous, fault)
        told = {call.number(0) for call in calls if call.name == "write" and b'"step": "create"' in call.data(1)}
        assert len(told) == 1, "one descriptor takes the acknowledgements"
        disk = Disk(live.files, live.ledger, *told, base, lies=batch.lies)
        for number, at, after, chance in _cuts(disk, calls, batch):
            place = Place(scratch / str(number))
            _rebuild(place, after)
            way: Way = chance.choice(("resume", "abort"))
            problems = judge(place, of, way)
            kept = ""
            if batch.keep or (problems and batch.synchronous == "FULL" and not batch.lies):
                _rebuild(place := Place(Path(tempfile.mkdtemp(prefix="cut-"))), after)
                kept = str(place.folder)
            found.append(
                Cut(name=batch.name, seed=batch.seed, synchronous=batch.synchronous, number=number, at=at, way=way,
                    problems=problems, files=kept)
            )  # fmt: skip
            shutil.rmtree(scratch / str(number))
    finally:
        shutil.rmtree(scratch)
    return found


def _cuts(disk: Disk, calls: Sequence[Call], batch: Batch) -> Iterator[tuple[int, str, After, random.Random]]:
    """The cuts of a batch, each at a moment drawn by its own seed."""
    rehearsal = disk.unplayed()
    moments = [
        (nth, what)
        for nth, what in enumerate(rehearsal.play(calls))
        if batch.name == UPGRADE or rehearsal.acknowledged != (batch.name == CREATION)
    ]
    rare = [(nth, what) for nth, what in moments if what != "pwrite64"]
    wanted: dict[int, list[tuple[int, random.Random]]] = {}
    for number in batch.cuts:
        chance = random.Random(f"{batch.name} {batch.seed} {number}")
        nth, _ = chance.choice(rare if chance.random() < 0.6 else moments)
        wanted.setdefault(nth, []).append((number, chance))
    for nth, what in enumerate(disk.play(calls)):
        for number, chance in wanted.get(nth, ()):
            yield number, what, disk.cut(chance), chance


def _rebuild(place: Place, after: After) -> None:
    place.files.mkdir(parents=True)
    for name, raw in after.files.items():
        (place.files / name).write_bytes(raw)
    place.acknowledged.write_bytes(after.acknowledged)
    place.ledger.write_bytes(after.ledger)


def batches(name: str, cuts: int, seed: int, synchronous: str, lies: bool) -> Iterator[Batch]:
    many = 8 if name == FAILING else _A_RECORDING
    for nth, first in enumerate(range(0, cuts, many)):
        numbers = tuple(range(first, min(cuts, first + many)))
        yield Batch(name=name, seed=seed + nth, synchronous=synchronous, cuts=numbers, lies=lies)


def sweep(
    names: Iterable[str], cuts: int, *, seed: int, synchronous: str = "FULL", lies: bool = False, jobs: int = 2
) -> dict[str, Tally]:
    """So many cuts, evenly over the scenarios. `spawn`: whoever calls may have threads, the workers must have none."""
    listed = list(names)
    tallies = {name: Tally() for name in listed}
    work = [
        batch
        for nth, name in enumerate(listed)
        for batch in batches(name, cuts * (nth + 1) // len(listed) - cuts * nth // len(listed), seed, synchronous, lies)
    ]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for batch, found in zip(work, pool.map(run, work), strict=True):
            for cut in found:
                tallies[batch.name].add(cut)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL")
    parser.add_argument("--lies", action="store_true", help="a disk that does not flush, to see that this can fail")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only these")
    parser.add_argument("--cut", type=int, help="do this cut of one scenario again, and keep its files")
    options = parser.parse_args()
    if reason := strace.missing():
        print(reason)
        return 2
    begun = time.monotonic()
    if options.cut is not None:
        (name,) = options.scenario
        one = Batch(
            name=name,
            seed=options.seed,
            synchronous=options.synchronous,
            cuts=(options.cut,),
            lies=options.lies,
            keep=True,
        )
        (cut,) = run(one)
        print(f"before {cut.at}, {cut.way}; the files are in {cut.files}", *cut.problems, sep="\n    ")
        return int(bool(cut.problems))
    total = Tally()
    for name in options.scenario or SCENARIOS:
        share = options.cuts // len(options.scenario or SCENARIOS)
        since = time.monotonic()
        settings = {"seed": options.seed, "synchronous": options.synchronous, "lies": options.lies}
        (tally,) = sweep([name], share, **settings, jobs=options.jobs).values()
        print(f"{name:<12} {tally.words()}, {time.monotonic() - since:.0f} s", flush=True)
        for cut in [] if options.synchronous == "NORMAL" or options.lies else tally.failed[:5]:
            told = [f"{problem.kind}: {problem.words}" for problem in cut.problems[:5]]
            print(f"  {cut.command()}  # files kept in {cut.files}", *told, sep="\n      ", flush=True)
        total.cuts += tally.cuts
        total.lost += tally.lost
        total.broken += tally.broken
        total.moments += tally.moments
    print("cut before: " + ", ".join(f"{what} {times}" for what, times in total.moments.most_common()))
    wrong = total.broken or (options.synchronous == "FULL" and total.lost)
    verdict = "FAILED" if wrong else "ok"
    print(f"{verdict}: {total.words()}, synchronous={options.synchronous}, seed {options.seed}, "
          f"{time.monotonic() - begun:.0f} s")  # fmt: skip
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
