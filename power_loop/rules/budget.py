"""Budgets: how much a turn, a session or a session tree may use, and whether the next request would pass that.

Pure: what is spent is read from the database by whoever asks, so that no restart resets it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["turn", "session", "tree"]
Measure: TypeAlias = Literal["rounds", "tokens", "cost", "seconds"]

SCOPES: Final[tuple[Scope, ...]] = ("turn", "session", "tree")
"""The order in which budgets are looked at."""
MEASURES: Final[tuple[Measure, ...]] = ("rounds", "tokens", "cost", "seconds")
"""The same for the limits of one budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits, at least one. What reaches a limit exactly is still within it.

    Raises:
        ValueError: a limit is not above zero, or there is none.
    """

    rounds: int | None = None
    """Answers of the model."""
    tokens: int | None = None
    """Prompt and completion tokens of all requests, as the endpoint counted them."""
    cost: float | None = None
    """In the currency of the prices."""
    seconds: float | None = None
    """Wall time in turns. It is looked at before each request: what runs when it is reached is not cut off."""

    def __post_init__(self) -> None:
        for measure in ("rounds", "tokens"):
            limit = getattr(self, measure)
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise ValueError(f"Budget({measure}={limit!r}): give a whole number above zero, or None for no limit")
        for measure in ("cost", "seconds"):
            limit = getattr(self, measure)
            if limit is not None and (
                isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf
            ):
                raise ValueError(f"Budget({measure}={limit!r}): give a number above zero, or None for no limit")
        if all(getattr(self, measure) is None for measure in MEASURES):
            raise ValueError(f"Budget() limits nothing: give one of {', '.join(MEASURES)}, or None in its place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was used so far. Sums with `+`."""

    rounds: int = 0
    tokens: int = 0
    cost: float | None = 0.0
    """None: the price of something is not known, and so neither is the sum."""
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            rounds=self.rounds + other.rounds,
            tokens=self.tokens + other.tokens,
            cost=None if self.cost is None or other.cost is None else self.cost + other.cost,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """One budget a scope; None: no limit there.

    Raises:
        ValueError: one is no `Budget`.
    """

    turn: Budget | None = None
    """The turn and the resumes of it."""
    session: Budget | None = None
    tree: Budget | None = None
    """The session, those it descends from, and all their descendants."""

    def __post_init__(self) -> None:
        for scope in SCOPES:
            given: object = getattr(self, scope)
            if given is not None and not isinstance(given, Budget):
                raise ValueError(f"Budgets({scope}={given!r}): give a Budget, or None for no limit")

    @property
    def limited(self) -> bool:
        """Whether there is any."""
        return self.turn is not None or self.session is not None or self.tree is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """The limit that the next request would pass; so it is not made."""

    scope: Scope
    measure: Measure
    limit: float
    spent: float | None
    """None: a cost that is not known."""
    reason: str
    """For people, one line."""


class Share(NamedTuple):
    """How much of a budget is used, by the measure of it of which most is."""

    scope: Scope
    measure: Measure
    spent: float
    limit: float

    @property
    def share(self) -> float:
        """0 if nothing is used, 1 at the limit; above that if more than the estimate was spent."""
        return self.spent / self.limit

    def __str__(self) -> str:
        return f"{_budget(self.scope, self.measure, self.limit)}: {_number(self.measure, self.spent)} spent"


def passed(
    budgets: Budgets,
    spent_turn: Spent,
    spent_session: Spent,
    spent_tree: Spent,
    *,
    next_tokens: int,
    next_cost: float | None,
    model: str = "",
) -> Exceeded | None:
    """The first limit that the next request would pass: turn, session, tree; in each rounds, tokens, cost, seconds.

    What a request uses is known only afterwards; what can be said before is its context. So a budget can be overspent
    by the replies to requests under way, and never by more than that.

    Args:
        next_tokens: The size of the context about to be sent.
        next_cost: What that alone will cost; None if there is no price for it. Where cost is limited, a price that is
            not known, of this request or of an earlier one, counts as passed: else the limit would be none.
        model: The one about to be asked, for the reason.
    """
    for scope, budget, spent in _each(budgets, spent_turn, spent_session, spent_tree):
        for measure in MEASURES:
            limit = getattr(budget, measure)
            if limit is None:
                continue
            reason = _why(scope, measure, limit, spent, next_tokens, next_cost, model)
            if reason is not None:
                return Exceeded(scope=scope, measure=measure, limit=limit, spent=getattr(spent, measure), reason=reason)
    return None


def shares(budgets: Budgets, spent_turn: Spent, spent_session: Spent, spent_tree: Spent) -> tuple[Share, ...]:
    """Of each budget the measure of which the largest share is used, in the order of scopes.

    A cost that is not known has no share; a budget that limits nothing else is left out then.
    """
    found = []
    for scope, budget, spent in _each(budgets, spent_turn, spent_session, spent_tree):
        of_budget = [
            Share(scope, measure, used, limit)
            for measure in MEASURES
            if (limit := getattr(budget, measure)) is not None and (used := getattr(spent, measure)) is not None
        ]
        found.extend(sorted(of_budget, key=lambda share: share.share, reverse=True)[:1])
    return tuple(found)


def _each(budgets: Budgets, turn: Spent, session: Spent, tree: Spent) -> Iterator[tuple[Scope, Budget, Spent]]:
    for scope, spent in zip(SCOPES, (turn, session, tree), strict=True):
        budget: Budget | None = getattr(budgets, scope)
        if budget is not None:
            yield scope, budget, spent


def _why(
    scope: Scope, measure: Measure, limit: float, spent: Spent, next_tokens: int, next_cost: float | None, model: str
) -> str | None:
    what, used = _budget(scope, measure, limit), getattr(spent, measure)
    if measure == "seconds":
        return f"{what}: {_number(measure, used)} have passed" if used >= limit else None
    if measure == "rounds":
        return f"{what}: {_number(measure, used)} spent" if used + 1 > limit else None
    if used is None:
        return f"{what}: what was spent is not known, because a request already made has no price"
    needs = next_tokens if measure == "tokens" else next_cost
    if needs is None:
        return f"{what}: there is no price for {f'the model {model}' if model else 'the next request'}"
    if used + needs <= limit:
        return None
    return f"{what}: {_number(measure, used)} spent, the next request needs about {_number(measure, needs)}"


def _budget(scope: Scope, measure: Measure, limit: float) -> str:
    what = "session tree" if scope == "tree" else scope
    if measure == "cost":
        return f"{what} budget of {_number(measure, limit)} in cost"
    return f"{what} budget of {_number(measure, limit)} {measure[:-1] if limit == 1 else measure}"


def _number(measure: Measure, value: float) -> str:
    if measure == "seconds":
        return f"{value:,.1f}".removesuffix(".0")
    if measure != "cost":
        return f"{value:,}"
    if 0 < value < 0.01:
        return f"{value:.2g}"
    whole, digits = f"{value:,.4f}".split(".")
    return f"{whole}.{digits.rstrip('0').ljust(2, '0')}"
