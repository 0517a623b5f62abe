"""`python -m tests.crash.sweep --all --jobs 2`: every scenario, killed at every point, recovered in every way.

`--kills N --seed S` spreads at least so many kills over scenarios and ways by chance. One line a series, and a last one
with kills, failures and seconds; the exit code is 1 if anything failed. A case again:
`python -m power_loop.testing.crash SCENARIO --way WAY --kill POINT:N`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterable, Sequence

from power_loop.testing.crash.case import Case
from power_loop.testing.crash.everywhere import all_points, once, run, takeovers, twice
from power_loop.testing.crash.jury import Jury
from power_loop.testing.crash.points import Point
from power_loop.testing.crash.report import CrashFailures, CrashReport
from power_loop.testing.crash.ways import TAKEOVER, WAYS
from tests.crash import folding, scenarios, two_rounds

TWICE = ("resume", "abort")
"""Ways whose recovery is killed at every point of its own, from every state a first death leaves, in A1's scenario."""
A_SEED = 400
"""Kills a seeded scenario gets of many."""


def tell(line: str) -> None:
    print(line, flush=True)


def sweep(jury: Jury, name: str, share: float, seed: int) -> CrashReport:
    """One scenario: each way at a share of the points, and its recovery killed too."""
    report = CrashReport(scenario=name, seed=seed)
    chance = random.Random(f"{seed} {name}")
    points = all_points(jury, name, report)
    tell(f"{name}: {len(points)} points")
    for way in WAYS:
        some = points if share >= 1 else chance.sample(points, max(1, round(share * len(points))))
        if way == TAKEOVER:
            run(jury, report, way, takeovers(name, points), tell)
            continue
        singles = run(jury, report, way, once(name, way, some), tell)
        every = share >= 1 and name == two_rounds.NAME and way in TWICE
        run(jury, report, f"{way}, killed again", twice(singles, every=every, chance=chance), tell)
    return report


def scatter(jury: Jury, name: str, kills: int, seed: int) -> CrashReport:
    """One scenario: at least so many kills, by chance over ways and points, recoveries killed too."""
    report = CrashReport(scenario=name, seed=seed)
    chance = random.Random(f"{seed} {name}")
    points = all_points(jury, name, report)
    while points and report.kills < kills and not len(report.failures) > 20:
        wanted = max(4, (kills - report.kills) * 2 // 5)
        cases = [_by_chance(name, points, chance) for _ in range(wanted)]
        singles = run(jury, report, f"{name.rpartition(':')[2]}, once", cases, tell)
        again = twice([v for v in singles if v.case.way != TAKEOVER], every=False, chance=chance)
        run(jury, report, f"{name.rpartition(':')[2]}, killed again", again, tell)
    return report


def _by_chance(name: str, points: Sequence[Point], chance: random.Random) -> Case:
    way = chance.choice(list(WAYS))
    if way == TAKEOVER and (hangs := list(takeovers(name, points))):
        return chance.choice(hangs)
    return Case(scenario=name, way=way if way != TAKEOVER else "resume", kills=(chance.choice(points),))


def close(reports: Iterable[CrashReport], seconds: float, sometimes: Iterable[str]) -> int:
    """Tell what was found in all; the exit code."""
    reports = list(reports)
    code = 0
    for report in reports:
        try:
            report.check()
        except CrashFailures as failures:
            code = 1
            tell(f"\n{failures}")
    windows = sorted({name for report in reports for name in report.windows})
    outcomes = sorted({name for report in reports for name in report.outcomes})
    tell("\nwindows hit: " + ", ".join(windows))
    tell("open calls: " + ", ".join(outcomes))
    if never := sorted(set(sometimes) - {*windows, *outcomes}):
        code = 1
        tell("never seen: " + ", ".join(never))
    kills, failures = sum(r.kills for r in reports), sum(len(r.failures) + len(r.problems) for r in reports)
    states = sum(report.states for report in reports)
    verdict = "FAILED" if code else "ok"
    tell(
        f"{verdict}: {kills} kills, {failures} failures, {seconds:.0f} s "
        f"({len(reports)} scenarios, {states} states, seed {reports[0].seed})"
    )
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.sweep", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every point of every scenario in every way")
    parser.add_argument("--kills", type=int, help="at least so many, by chance")
    parser.add_argument("--share", type=float, default=0.1, help="of the points, without --all and --kills")
    parser.add_argument("--scenario", action="append", help="only these, as MODULE:NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with Jury(options.jobs) as jury:
        if options.kills:
            names = options.scenario or scenarios.names(options.seed, max(8, options.kills // A_SEED))
            each = -(-options.kills // len(names))
            reports = [scatter(jury, name, each, options.seed) for name in names]
        else:
            names = options.scenario or [*scenarios.names(options.seed, 4), *map(folding.full_name, folding.NAMES)]
            share = 1.0 if options.all else options.share
            reports = [sweep(jury, name, share, options.seed) for name in names]
    sometimes = two_rounds.WINDOWS | two_rounds.OUTCOMES if not options.scenario else ()
    return close(reports, time.monotonic() - begun, sometimes)


if __name__ == "__main__":
    sys.exit(main())
