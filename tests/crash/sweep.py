"""`python -m tests.crash.sweep --all --jobs 2`: kill a client at every point, recover in every way, judge every time.

Prints a line a series and fails if one case did. `--series NAME --kill POINT:N [--kill POINT:N]` runs one case again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from power_loop.testing.crash import Point
from tests.crash.case import UNTOUCHED, Case, Verdict
from tests.crash.recoveries import LIVES, RECOVERED, SERIES, ZOMBIE
from tests.crash.windows import OUTCOMES, WANTED
from tests.crash.worker import Jury

TWICE: Final = ("resume", "abort")
"""Series whose recovery is killed at every point of its own, from every state a first death can leave."""


@dataclass
class Tally:
    """What became of the cases of one series."""

    name: str
    cases: int = 0
    deaths: int = 0
    missed: list[Case] = field(default_factory=list)
    failed: list[Verdict] = field(default_factory=list)
    windows: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    states: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def add(self, verdict: Verdict) -> None:
        self.cases += 1
        self.deaths += verdict.deaths
        if verdict.missed:
            self.missed.append(verdict.case)
        if verdict.problems:
            self.failed.append(verdict)
        self.windows.update(set(verdict.windows))
        self.outcomes.update(verdict.outcomes)
        self.states.update(verdict.states)

    def line(self) -> str:
        verdict = "FAILED" if self.failed else "ok"
        missed = f", {len(self.missed)} points not passed again" if self.missed else ""
        return (
            f"{self.name:<28} {verdict:<6} {self.cases:>6} cases, {self.deaths:>6} kills, "
            f"{len(self.states):>4} states, {len(self.failed)} failures{missed}, {self.seconds:.0f} s"
        )


def all_points(jury: Jury) -> list[Point]:
    """Every point of a run without a kill, in order."""
    (verdict,) = jury.judge([Case(series="resume", kills=(None,))])
    (first,) = jury.judge([Case(series=UNTOUCHED, kills=(None,))])
    assert not verdict.problems, verdict.problems
    assert not first.problems, first.problems
    return first.passed


def once(series: str, points: Iterable[Point]) -> Iterator[Case]:
    return (Case(series=series, kills=(point,)) for point in points)


def twice(singles: Sequence[Verdict], *, every: bool, chance: random.Random) -> Iterator[Case]:
    """Kill the recovery too: at every point of it from every state, or at one by chance after every first point."""
    seen: set[str] = set()
    for verdict in singles:
        if verdict.problems or not verdict.passed:
            continue
        if not every:
            yield Case(series=verdict.case.series, kills=(*verdict.case.kills, chance.choice(verdict.passed)))
        elif verdict.states[0] not in seen:
            seen.add(verdict.states[0])
            recovery = takewhile(lambda point: point.name != RECOVERED, verdict.passed)
            yield from (Case(series=verdict.case.series, kills=(*verdict.case.kills, p)) for p in recovery)


def zombies(points: Iterable[Point]) -> Iterator[Case]:
    """The moments of a turn at which its process may hang without holding the database."""
    return (Case(series=ZOMBIE, kills=(point,)) for point in points if point.name.startswith(("loop.", "tool.")))


def run(jury: Jury, name: str, cases: Iterable[Case]) -> tuple[Tally, list[Verdict]]:
    tally, verdicts, begun = Tally(name), [], time.monotonic()
    for verdict in jury.judge(cases):
        tally.add(verdict)
        verdicts.append(verdict)
        if verdict.problems and len(tally.failed) <= 5:
            told = "\n    ".join(verdict.problems)
            print(f"{verdict.case.command()}\n    {told}", flush=True)
    tally.seconds = time.monotonic() - begun
    print(tally.line(), flush=True)
    return tally, verdicts


def sweep(jury: Jury, names: Sequence[str], share: float, chance: random.Random) -> list[Tally]:
    points = all_points(jury)
    print(f"{len(points)} points, from the creation of the file to the last acknowledgement")
    tallies = []
    for name in names:
        some = points if share >= 1 else sorted(chance.sample(points, round(share * len(points))), key=points.index)
        tally, singles = run(jury, name, once(name, some))
        tallies.append(tally)
        every = share >= 1 and name in TWICE
        tallies.append(run(jury, f"{name}, killed again", twice(singles, every=every, chance=chance))[0])
    tallies.append(run(jury, "stopped, robbed, back", zombies(points))[0])
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.sweep", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every point of every series")
    parser.add_argument("--share", type=float, default=0.1, help="of the points, without --all")
    parser.add_argument("--series", action="append", choices=sorted(LIVES), help="only these")
    parser.add_argument("--kill", action="append", metavar="POINT:N", help="run one case: die there, and then there")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with Jury(options.jobs) as jury:
        if options.kill:
            kills = tuple(Point(name, int(nth)) for name, _, nth in (kill.rpartition(":") for kill in options.kill))
            tallies = [run(jury, name, [Case(series=name, kills=kills)])[0] for name in options.series or ("resume",)]
            return int(any(tally.failed for tally in tallies))
        chance = random.Random(options.seed)
        tallies = sweep(jury, options.series or list(SERIES), 1.0 if options.all else options.share, chance)
    windows = sum((tally.windows for tally in tallies), Counter[str]())
    outcomes = sum((tally.outcomes for tally in tallies), Counter[str]())
    print("\nwindows hit: " + ", ".join(f"{name} {windows[name]}" for name in sorted(windows)))
    print("open calls: " + ", ".join(f"{name} {outcomes[name]}" for name in sorted(outcomes)))
    never = sorted((WANTED - set(windows)) | (OUTCOMES - set(outcomes)))
    failures = sum(len(tally.failed) for tally in tallies)
    if never:
        print("never seen: " + ", ".join(never))
    verdict = "FAILED" if failures or (never and not options.series) else "ok"
    deaths = sum(tally.deaths for tally in tallies)
    print(f"{verdict}: {deaths} kills, {failures} failures, {time.monotonic() - begun:.0f} s, seed {options.seed}")
    return int(verdict != "ok")


if __name__ == "__main__":
    sys.exit(main())
