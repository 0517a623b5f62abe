"""`python -m tests.power.faults --jobs 2`: let the N-th write or flush of a turn fail or kill, for every N.

strace injects the fault into an unmodified process, which asks again for what was refused. It must go on, or say a
typed error, or be dead; never hang, never acknowledge what is not there. Then a fresh process finds a sound file, frees
the session and goes on. Prints a line a kind; `--kind K --nth N` does one again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.power import strace
from tests.power.agent import TYPED
from tests.power.scenario import Place, scenario
from tests.power.verdict import Way, judge

KINDS: Final = {
    "kill at a flush": "fdatasync:signal=KILL:when={}",
    "kill at a write": "pwrite64:signal=KILL:when={}",
    "a flush fails": "fdatasync:error=EIO:when={}",
    "flushes fail from then on": "fdatasync:error=EIO:when={}+",
    "a write fails": "pwrite64:error=EIO:when={}",
    "writes fail from then on": "pwrite64:error=EIO:when={}+",
    "no space for a write": "pwrite64:error=ENOSPC:when={}",
    "no space from then on": "pwrite64:error=ENOSPC:when={}+",
    "a truncation fails": "ftruncate:error=EIO:when={}",
    "the link into place fails": "link:error=EIO:when={}",
}
_MEMORY: Final = Path("/dev/shm")
_PATIENCE: Final = 60


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run with one fault, and what came of it."""

    kind: str
    scenario: str
    seed: int
    nth: int
    hit: bool
    """The fault was injected: there is an N-th call."""
    ended: str
    codes: list[str]
    """Of the typed errors that the app was told."""
    problems: list[str]

    def command(self) -> str:
        return f'python -m tests.power.faults --scenario {self.scenario} --kind "{self.kind}" --nth {self.nth}'


def run(kind: str, name: str, seed: int, nth: int) -> Run:
    """Forks: for a process of one thread."""
    of = scenario(name, seed)
    scratch = Path(tempfile.mkdtemp(prefix="faults-", dir=_MEMORY if _MEMORY.is_dir() else None))
    place = Place(scratch)
    log = scratch / "trace"
    fault = KINDS[kind].format(nth)
    call = fault.partition(":")[0]
    problems: list[str] = []
    codes: list[str] = []
    try:
        # Not with --seccomp-bpf: strace 6.1 then injects the first signal only.
        fast = [] if "signal" in fault else ["--seccomp-bpf"]
        options = [*fast, "-qq", "-s", "0", "-e", f"trace={call}", "-e", f"inject={fault}", "-o", str(log)]
        try:
            ended = strace.run(place, [name, str(seed)], options, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            end = "hung"
            problems.append(f"it hung for {_PATIENCE} seconds")
        else:
            end = {0: "went on", TYPED: "gave up", -signal.SIGKILL: "killed"}.get(ended.code, f"exit {ended.code}")
            told = [json.loads(line) for line in ended.said.splitlines()]
            codes = [line["code"] for line in told]
            if end.startswith("exit") or "Traceback" in ended.errors or (end == "killed" and "signal" not in fault):
                problems.append(f"{end}: {ended.errors[-2000:]}")
            problems += [f"told as {line}" for line in told if not line["code"].startswith("store.")]
        hit = "INJECTED" in log.read_text(encoding="ascii") or end == "killed"
        way: Way = random.Random(f"{kind} {name} {seed} {nth}").choice(("resume", "abort"))
        problems += [f"{way}, {problem.kind}: {problem.words}" for problem in judge(place, of, way)]
    finally:
        shutil.rmtree(scratch)
    return Run(kind=kind, scenario=name, seed=seed, nth=nth, hit=hit, ended=end, codes=codes, problems=problems)


@dataclass
class Tally:
    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failed: list[Run] = field(default_factory=list)

    def add(self, one: Run) -> None:
        self.runs += 1
        self.ends[one.ended] += 1
        self.codes.update(set(one.codes))
        if one.problems:
            self.failed.append(one)

    def words(self) -> str:
        ends = ", ".join(f"{end} {times}" for end, times in sorted(self.ends.items()))
        codes = ", ".join(f"{code} {times}" for code, times in sorted(self.codes.items()))
        return f"{self.runs} faults ({ends}), {len(self.failed)} failures{f'; told: {codes}' if codes else ''}"


def sweep(pool: ProcessPoolExecutor, kind: str, name: str, *, seed: int, step: int = 1, first: int = 1) -> Tally:
    """Every `step`-th N, until a run is untouched."""
    tally = Tally()
    for one in _until_untouched(pool, (kind, name, seed), count(first, step)):
        tally.add(one)
    return tally


def _until_untouched(pool: ProcessPoolExecutor, what: tuple[str, str, int], numbers: Iterable[int]) -> Iterator[Run]:
    ahead = [pool.submit(run, *what, nth) for nth, _ in zip(numbers, range(4), strict=False)]
    while True:
        one = ahead.pop(0).result()
        if not one.hit:
            for waiting in ahead:
                waiting.cancel()
            assert not one.problems, one
            return
        yield one
        ahead.append(pool.submit(run, *what, next(iter(numbers))))


def workers(jobs: int) -> ProcessPoolExecutor:
    """`spawn`: whoever calls may have threads, the workers must have none."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.faults", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these")
    parser.add_argument("--scenario", default="turn")
    parser.add_argument("--step", type=int, default=1, help="every so-manieth write only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nth", type=int, help="this fault alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    if reason := strace.missing():
        print(reason)
        return 2
    if options.nth is not None:
        one = run(options.kind[0], options.scenario, options.seed, options.nth)
        print(f"{one.ended}, told {one.codes}", *one.problems, sep="\n    ")
        return int(bool(one.problems))
    begun, faults, failures = time.monotonic(), 0, 0
    with workers(options.jobs) as pool:
        for kind in options.kind or KINDS:
            tally = sweep(pool, kind, options.scenario, seed=options.seed, step=options.step)
            print(f"{kind:<26} {tally.words()}", flush=True)
            for one in tally.failed[:5]:
                print(f"  {one.command()}", *one.problems[:6], sep="\n      ", flush=True)
            faults += tally.runs
            failures += len(tally.failed)
    verdict = "FAILED" if failures else "ok"
    print(f"{verdict}: {faults} faults, {failures} failures, seed {options.seed}, {time.monotonic() - begun:.0f} s")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
