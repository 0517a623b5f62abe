"""`crash_everywhere`: kill an app at every point of its life, recover it in every way, judge it every time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from power_loop.testing.crash.case import UNTOUCHED, Case, Verdict
from power_loop.testing.crash.jury import Jury
from power_loop.testing.crash.points import Point
from power_loop.testing.crash.report import CrashReport, Series, told
from power_loop.testing.crash.ways import RECOVERED, TAKEOVER, WAYS

TOLD: Final = 3
"""Failures of a series that are told at once; the report has all of them."""

Tell: TypeAlias = Callable[[str], None]
Again: TypeAlias = bool | Literal["every"]


def _untold(line: str) -> None:
    return None


def crash_everywhere(
    scenario: str,
    *,
    share: float = 1.0,
    seed: int = 1,
    ways: Sequence[str] = tuple(WAYS),
    again: Again = True,
    jobs: int = 2,
    tell: Tell = _untold,
) -> CrashReport:
    """Kill the scenario MODULE:NAME at every point it passes, and recover it in every way; what was found.

    One run that nothing happens to says what there is: crash points, SQL statements, changes of files. Then a process
    dies by SIGKILL at each, once for each of `ways`, and with `again` its recovery dies too, at a point by chance
    (`"every"`: at each of its own, from every state a first death left). Never raises for what it finds: that is for
    `check()`. All happens in other processes; this one is not forked.

    Args:
        share: Of the points, by chance; at least one.
        seed: Chooses them. The same seed makes the same choice as long as the app passes the same points.
        jobs: Processes that work side by side.
        tell: Hears a line a series, and its first failures at once.

    Raises:
        ValueError: there is no such way.
    """
    if unknown := [way for way in ways if way not in WAYS]:
        raise ValueError(f"there is no way {unknown[0]!r}; there are {', '.join(WAYS)}")
    begun = time.monotonic()
    report = CrashReport(scenario=scenario, seed=seed)
    chance = random.Random(seed)
    with Jury(jobs) as jury:
        points = all_points(jury, scenario, report)
        tell(f"{scenario}: {len(points)} points, from the creation of the file to the last acknowledgement")
        for way in ways:
            some = _sample(points, share, chance)
            if way == TAKEOVER:
                run(jury, report, way, takeovers(scenario, some), tell)
                continue
            singles = run(jury, report, way, once(scenario, way, some), tell)
            if again:
                run(jury, report, f"{way}, killed again", twice(singles, every=again == "every", chance=chance), tell)
    report.seconds = time.monotonic() - begun
    return report


def all_points(jury: Jury, scenario: str, report: CrashReport) -> list[Point]:
    """Every point of a run without a kill, in order; none if that run went wrong already, as the report then says."""
    (verdict,) = jury.judge([Case(scenario=scenario, way=UNTOUCHED, kills=(None,))])
    report.problems += [f"{scenario}, untouched: {problem}" for problem in verdict.problems]
    points = [] if verdict.problems else verdict.passed
    report.points += len(points)
    return points


def once(scenario: str, way: str, points: Iterable[Point]) -> Iterator[Case]:
    """A death at each point."""
    return (Case(scenario=scenario, way=way, kills=(point,)) for point in points)


def twice(singles: Sequence[Verdict], *, every: bool, chance: random.Random) -> Iterator[Case]:
    """Kill the recovery too: at every point of it from every state, or at one by chance after every first point."""
    seen: set[str] = set()
    for verdict in singles:
        if verdict.problems or not verdict.passed or not verdict.states:
            continue
        recovery = list(takewhile(lambda point: point.name != RECOVERED, verdict.passed))
        case = verdict.case
        if not every:
            points = [chance.choice(recovery or verdict.passed)]
        elif verdict.states[0] in seen:
            continue
        else:
            seen.add(verdict.states[0])
            points = recovery
        yield from (Case(scenario=case.scenario, way=case.way, kills=(*case.kills, point)) for point in points)


def takeovers(scenario: str, points: Iterable[Point]) -> Iterator[Case]:
    """The moments of a turn at which its process may hang without holding the database."""
    return (
        Case(scenario=scenario, way=TAKEOVER, kills=(point,))
        for point in points
        if point.name.startswith(("loop.", "tool."))
    )


def run(jury: Jury, report: CrashReport, name: str, cases: Iterable[Case], tell: Tell = _untold) -> list[Verdict]:
    """Judge cases as one series of the report."""
    series, verdicts, begun = Series(name=name), [], time.monotonic()
    for verdict in jury.judge(cases):
        series.add(verdict)
        verdicts.append(verdict)
        if verdict.problems and len(series.failed) <= TOLD:
            tell(told(verdict))
    series.seconds = time.monotonic() - begun
    report.series.append(series)
    tell(series.line())
    return verdicts


def _sample(points: Sequence[Point], share: float, chance: random.Random) -> list[Point]:
    if share >= 1 or not points:
        return list(points)
    return [points[i] for i in sorted(chance.sample(range(len(points)), max(1, round(share * len(points)))))]
