"""What a turn spends, and whether its next request would pass a budget: then it is not made, and the turn ends."""

from __future__ import annotations

from typing import NamedTuple

from llm_client.service import Usage
from power_loop.loop.stop import Stop, Stopped
from power_loop.loop.turn import Turn
from power_loop.rules import Share, Spent, passed, shares
from power_loop.values import Status


class All(NamedTuple):
    turn: Spent
    session: Spent
    tree: Spent


async def within_budget(turn: Turn) -> None:
    """Look before a request whether it would pass a limit; all that was spent before is read from the store.

    Raises:
        Stopped: it would; the turn is recorded as `budget_exceeded` and a resume with more goes on.
    """
    if not turn.gear.budgeted:
        return
    budgets = turn.gear.config.budgets
    spent = await all_spent(turn)
    context = turn.snapshot.context_tokens
    model = turn.model or ("" if turn.gear.llm is None else turn.gear.llm.model)
    exceeded = passed(
        budgets,
        *spent,
        next_tokens=context,
        next_cost=turn.gear.cost(model, Usage(prompt_tokens=context, completion_tokens=0)),
        model=model,
    )
    if exceeded is not None:
        raise Stopped(Stop(Status.BUDGET_EXCEEDED, exceeded.reason))


async def budget_shares(turn: Turn) -> tuple[Share, ...]:
    """How much of each budget is used, for watchers."""
    return shares(turn.gear.config.budgets, *await all_spent(turn)) if turn.gear.budgeted else ()


async def all_spent(turn: Turn) -> All:
    """What the turn, its session and its tree have spent. Read once a turn; a tree, whose others run on, each time."""
    tree = turn.gear.config.budgets.tree is not None
    if turn.others is None or tree:
        turn.others = await turn.brief.lookup.spending(tree=tree)
    others, own = turn.others, turn.spent + Spent(seconds=turn.gear.world.monotonic() - turn.since)
    return All(others.turn + own, others.session + own, others.tree + own)
