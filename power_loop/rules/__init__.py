"""Rules a session is held to: who watches it, what it may use, which tools when. Pure, but for asking watchers.

`watchers` asks whoever looks at a round (`seen`), `repeats` and `bounds` are those that come along; `budget` says
whether the next request would pass a limit, `prices` what requests cost; `steps` is the table of which tools when.
Below the configuration, which holds all of these; the loop asks, records what they remember, and does what they say.

Invariant: a rule that fails is said and changes nothing; what a rule remembers is one small JSON value.
"""

from power_loop.rules.bounds import BudgetShare, Pattern, Scope
from power_loop.rules.budget import Budget, Budgets, Exceeded, Share, Spent, passed, shares
from power_loop.rules.prices import GenaiPrices, Price, Priced, Prices, PriceTable, priced
from power_loop.rules.repeats import RepeatedCall, Stagnation
from power_loop.rules.seen import CallSeen, Problem, RoundSeen
from power_loop.rules.steps import Guided, Move, Step, Stepped, Steps, StepSeen, StepState, called
from power_loop.rules.watchers import (
    CONTINUE,
    Abort,
    Continue,
    Nudge,
    Outcome,
    Pause,
    Verdict,
    Watched,
    Watcher,
    watch_round,
    watchers_of,
)

__all__ = [
    "CONTINUE",
    "Abort",
    "Budget",
    "BudgetShare",
    "Budgets",
    "CallSeen",
    "Continue",
    "Exceeded",
    "GenaiPrices",
    "Guided",
    "Move",
    "Nudge",
    "Outcome",
    "Pattern",
    "Pause",
    "Price",
    "PriceTable",
    "Priced",
    "Prices",
    "Problem",
    "RepeatedCall",
    "RoundSeen",
    "Scope",
    "Share",
    "Spent",
    "Stagnation",
    "Step",
    "StepSeen",
    "StepState",
    "Stepped",
    "Steps",
    "Verdict",
    "Watched",
    "Watcher",
    "called",
    "passed",
    "priced",
    "shares",
    "watch_round",
    "watchers_of",
]
