"""One case, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from power_loop.testing.crash.points import Point

UNTOUCHED: Final = "untouched"
"""The way of one run that nothing happens to."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """`kills`: where the first process dies, and maybe its recovery. None is nowhere."""

    scenario: str
    """MODULE:NAME."""
    way: str
    kills: tuple[Point | None, ...]

    def command(self) -> str:
        """What runs this very case again."""
        points = "".join(f" --kill {point}" for point in self.kills if point is not None)
        return f"python -m power_loop.testing.crash {self.scenario} --way {self.way}{points}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        kills = tuple(None if kill is None else Point(*kill) for kill in told["kills"])
        return cls(scenario=told["scenario"], way=told["way"], kills=kills)


@dataclass(kw_only=True)
class Verdict:
    """What came of a case: no problems, or what is wrong in words."""

    case: Case
    problems: list[str] = field(default_factory=list)
    kills: int = 0
    """Processes that really died, or were stopped."""
    missed: bool = False
    """A point was not passed this time."""
    windows: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    """States of calls that were found open, and what became of them."""
    states: list[str] = field(default_factory=list)
    """The fingerprint of what each death left."""
    passed: list[Point] = field(default_factory=list)
    """What the last process passed."""
    requests: list[str] = field(default_factory=list)
    """The inputs stored at the end."""
    evidence: str | None = None
    """The folder of a case that failed, left for whoever looks into it."""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"case": self.case.as_json()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        return cls(**told | {"case": Case.from_json(told["case"]), "passed": [Point(*p) for p in told["passed"]]})
