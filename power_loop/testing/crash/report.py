"""What a sweep found: counts, the windows it hit, and every failure with the command that repeats it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from power_loop.testing.crash.case import Verdict

SHOWN = 10
"""Failures told in full."""


class CrashFailures(AssertionError):  # noqa: N818 - several failures, as an ExceptionGroup is
    """A sweep found something wrong, or nothing at all; its text says what, and how to see it again."""


@dataclass(kw_only=True)
class Series:
    """What became of the cases of one way of recovering."""

    name: str
    cases: int = 0
    kills: int = 0
    missed: int = 0
    failed: list[Verdict] = field(default_factory=list)
    windows: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    """The names of the points that processes died at."""
    states: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def add(self, verdict: Verdict) -> None:
        self.cases += 1
        self.kills += verdict.kills
        self.missed += verdict.missed
        if verdict.problems:
            self.failed.append(verdict)
        self.windows.update(set(verdict.windows))
        self.outcomes.update(verdict.outcomes)
        self.states.update(verdict.states)
        if verdict.kills and not verdict.missed:
            self.points.update(point.name for point in verdict.case.kills if point is not None)

    def line(self) -> str:
        verdict = "FAILED" if self.failed else "ok"
        missed = f", {self.missed} points not passed again" if self.missed else ""
        return (
            f"{self.name:<28} {verdict:<6} {self.cases:>6} cases, {self.kills:>6} kills, "
            f"{len(self.states):>4} states, {len(self.failed)} failures{missed}, {self.seconds:.0f} s"
        )


@dataclass(kw_only=True)
class CrashReport:
    """The whole of a sweep. `check()` is what a test calls."""

    scenario: str
    seed: int
    points: int = 0
    """What one untouched run passes: crash points, SQL statements, changes of files."""
    series: list[Series] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What is wrong with the sweep as a whole."""
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(one.cases for one in self.series)

    @property
    def kills(self) -> int:
        return sum(one.kills for one in self.series)

    @property
    def states(self) -> int:
        """How many different states deaths left behind."""
        return len(set().union(*(one.states for one in self.series)))

    @property
    def failures(self) -> list[Verdict]:
        return [verdict for one in self.series for verdict in one.failed]

    @property
    def windows(self) -> Counter[str]:
        """Kinds of moments that deaths fell into."""
        return sum((one.windows for one in self.series), Counter[str]())

    @property
    def outcomes(self) -> Counter[str]:
        """What calls found open were, and became: `once started -> reported`."""
        return sum((one.outcomes for one in self.series), Counter[str]())

    @property
    def seen(self) -> set[str]:
        """All that can be asked for by `sometimes`: windows, outcomes, and names of points processes died at."""
        return {*self.windows, *self.outcomes, *(name for one in self.series for name in one.points)}

    def check(self, *, sometimes: Iterable[str] = ()) -> None:
        """Nothing went wrong, something was really killed, and each of `sometimes` was really seen.

        Raises:
            CrashFailures: else; its text tells the failures, and the command that repeats each.
        """
        lines = list(self.problems)
        if not self.points:
            lines.append("the untouched run passed no crash point: nothing was tested")
        elif not self.kills:
            lines.append("no process was killed: nothing was tested")
        lines += [f"never seen: {name}" for name in sorted(set(sometimes) - self.seen)]
        lines += [told(verdict) for verdict in self.failures[:SHOWN]]
        if len(self.failures) > SHOWN:
            lines.append(f"and {len(self.failures) - SHOWN} failures more")
        if lines:
            raise CrashFailures(f"{self}\n" + "\n".join(lines))

    def __str__(self) -> str:
        return (
            f"{self.scenario}, seed {self.seed}: {self.points} points, {self.cases} cases, {self.kills} kills, "
            f"{self.states} states, {len(self.windows)} windows, {len(self.failures)} failures, {self.seconds:.0f} s"
        )


def told(verdict: Verdict) -> str:
    """A failure in words, below the command that repeats it."""
    left = "" if verdict.evidence is None else f"\n    what it left: {verdict.evidence}"
    return f"{verdict.case.command()}\n    " + "\n    ".join(verdict.problems) + left
