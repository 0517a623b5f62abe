"""Budgets: the request that would pass a limit is not made, and the reason says which, in order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.rules import Budget, Budgets, Exceeded, Share, Spent, passed, shares

NOTHING = Spent()


def held(
    budgets: Budgets, *spent: Spent, tokens: int = 0, cost: float | None = 0.0, model: str = ""
) -> Exceeded | None:
    turn, session, tree = (*spent, *[NOTHING] * (3 - len(spent)))
    return passed(budgets, turn, session, tree, next_tokens=tokens, next_cost=cost, model=model)


@pytest.mark.acceptance("G5")
@pytest.mark.parametrize(
    ("budget", "spent", "tokens", "cost", "reason"),
    [
        (Budget(rounds=3), Spent(rounds=2), 0, 0.0, None),
        (Budget(rounds=3), Spent(rounds=3), 0, 0.0, "turn budget of 3 rounds: 3 spent"),
        (Budget(rounds=1), Spent(rounds=4), 0, 0.0, "turn budget of 1 round: 4 spent"),
        (Budget(tokens=100_000), Spent(tokens=97_000), 3000, 0.0, None),
        (
            Budget(tokens=100_000),
            Spent(tokens=98_211),
            3000,
            0.0,
            "turn budget of 100,000 tokens: 98,211 spent, the next request needs about 3,000",
        ),
        (Budget(cost=5), Spent(cost=4.5), 0, 0.5, None),
        (
            Budget(cost=5),
            Spent(cost=4.98),
            0,
            0.0251,
            "turn budget of 5.00 in cost: 4.98 spent, the next request needs about 0.0251",
        ),
        (
            Budget(cost=0.002),
            Spent(cost=0.0),
            0,
            0.00304,
            "turn budget of 0.002 in cost: 0.00 spent, the next request needs about 0.003",
        ),
        (
            Budget(cost=5.0),
            Spent(cost=None),
            0,
            0.0,
            "turn budget of 5.00 in cost: what was spent is not known, because a request already made has no price",
        ),
        (Budget(cost=5.0), Spent(), 0, None, "turn budget of 5.00 in cost: there is no price for the model m"),
        (Budget(tokens=5), Spent(cost=None), 0, None, None),
        (Budget(seconds=60), Spent(seconds=59.9), 0, 0.0, None),
        (Budget(seconds=60), Spent(seconds=60), 0, 0.0, "turn budget of 60 seconds: 60 have passed"),
        (Budget(seconds=1), Spent(seconds=3661.25), 0, 0.0, "turn budget of 1 second: 3,661.2 have passed"),
    ],
)
def test_what_would_pass_a_limit(
    budget: Budget, spent: Spent, tokens: int, cost: float | None, reason: str | None
) -> None:
    found = held(Budgets(turn=budget), spent, tokens=tokens, cost=cost, model="m")
    assert (None if found is None else found.reason) == reason


@pytest.mark.acceptance("G5")
def test_scopes_come_in_order_and_measures_within_them() -> None:
    most = Spent(rounds=9, tokens=9, cost=9.0, seconds=9.0)
    all_ = Budget(rounds=1, tokens=1, cost=1.0, seconds=1.0)
    tight = Budgets(turn=all_, session=all_, tree=all_)
    assert held(tight, most, most, most) == Exceeded(
        scope="turn", measure="rounds", limit=1, spent=9, reason="turn budget of 1 round: 9 spent"
    )
    found = held(tight, NOTHING, Spent(seconds=2.0), most)
    assert found is not None
    assert (found.scope, found.measure) == ("session", "seconds")
    found = held(Budgets(tree=Budget(cost=2)), NOTHING, NOTHING, Spent(cost=None))
    assert found is not None
    assert (found.scope, found.spent) == ("tree", None)
    assert found.reason.startswith("session tree budget of 2.00 in cost")
    assert held(Budgets(), most, most, most) is None
    assert "the next request" in held(Budgets(session=Budget(cost=1)), cost=None).reason  # type: ignore[union-attr]


limits = st.builds(
    Budget,
    rounds=st.none() | st.integers(1, 6),
    tokens=st.integers(1, 500),
    cost=st.none() | st.floats(0.01, 3),
    seconds=st.none() | st.floats(0.1, 60),
)
budgets = st.builds(Budgets, turn=st.none() | limits, session=st.none() | limits, tree=st.none() | limits)
request = st.builds(
    lambda tokens, cost, seconds: Spent(rounds=1, tokens=tokens, cost=cost, seconds=seconds),
    st.integers(0, 200),
    st.floats(0, 1) | st.none(),
    st.floats(0, 30),
)


@pytest.mark.acceptance("G5")
@given(budgets, st.lists(st.tuples(request, st.booleans()), max_size=30))
def test_requests_that_are_allowed_never_pass_a_limit(of: Budgets, requests: list[tuple[Spent, bool]]) -> None:
    turn = session = tree = NOTHING
    stopped: Exceeded | None = None
    for needs, new_turn in requests:
        turn = NOTHING if new_turn else turn
        before = (turn, session, tree)
        found = passed(of, turn, session, tree, next_tokens=needs.tokens, next_cost=needs.cost)
        if stopped is not None and stopped.scope != "turn" and stopped.measure in ("rounds", "seconds"):
            assert found is not None, "what is used up stays used up, also in the next turn"
        if found is not None:
            stopped = found
            assert getattr(of, found.scope) is not None
            assert found.limit == getattr(getattr(of, found.scope), found.measure)
            continue
        turn, session, tree = turn + needs, session + needs, tree + needs
        for budget, spent, was in zip((of.turn, of.session, of.tree), (turn, session, tree), before, strict=True):
            if budget is None:
                continue
            assert budget.rounds is None or spent.rounds <= budget.rounds
            assert budget.tokens is None or spent.tokens <= budget.tokens
            assert budget.cost is None or (spent.cost is not None and spent.cost <= budget.cost)
            assert budget.seconds is None or was.seconds < budget.seconds


def test_spent_sums_and_an_unknown_price_makes_the_sum_unknown() -> None:
    one, other = Spent(rounds=1, tokens=10, cost=0.5, seconds=1.5), Spent(rounds=2, tokens=5, cost=0.25, seconds=1.0)
    assert one + other == Spent(rounds=3, tokens=15, cost=0.75, seconds=2.5)
    assert (one + Spent(cost=None)).cost is None
    assert (Spent(cost=None) + one).cost is None
    assert one + NOTHING == one


@pytest.mark.acceptance("G5")
def test_the_largest_share_of_each_budget() -> None:
    of = Budgets(turn=Budget(rounds=10, tokens=1000), session=Budget(cost=2.0, seconds=100), tree=Budget(cost=1.0))
    found = shares(of, Spent(rounds=5, tokens=600), Spent(cost=3.0, seconds=10), Spent(cost=None))
    assert found == (Share("turn", "tokens", 600, 1000), Share("session", "cost", 3.0, 2.0))
    assert [share.share for share in found] == [0.6, 1.5]
    assert str(found[0]) == "turn budget of 1,000 tokens: 600 spent"
    assert shares(of, NOTHING, Spent(cost=None, seconds=10), NOTHING) == (
        Share("turn", "rounds", 0, 10),
        Share("session", "seconds", 10, 100),
        Share("tree", "cost", 0.0, 1.0),
    )
    assert shares(Budgets(), NOTHING, NOTHING, NOTHING) == ()


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"rounds": 0},
        {"rounds": 1.5},
        {"rounds": True},
        {"tokens": -1},
        {"tokens": "many"},
        {"cost": 0},
        {"cost": -0.1},
        {"cost": math.inf},
        {"cost": math.nan},
        {"cost": True},
        {"seconds": 0.0},
        {"seconds": "60"},
    ],
)
def test_a_budget_that_cannot_be_is_refused(limits: Any) -> None:
    with pytest.raises(ValueError, match=r"Budget\(.*give"):
        Budget(**limits)


def test_budgets_hold_nothing_else() -> None:
    wrong: Any = 5.0
    with pytest.raises(ValueError, match=r"Budgets\(session=5.0\): give a Budget"):
        Budgets(session=wrong)
