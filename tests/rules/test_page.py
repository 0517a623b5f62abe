"""docs/rules.md: its code works as it stands there, and its table is the one there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from llm_client import Usage
from power_loop import AgentLoopConfig
from power_loop.rules import (
    Budget,
    Budgets,
    BudgetShare,
    Nudge,
    Pattern,
    RepeatedCall,
    Scope,
    Spent,
    Stagnation,
    Watched,
    passed,
    watchers_of,
)
from tests.rules.kit import call, seen, watched

PAGE = (Path(__file__).parents[2] / "docs/rules.md").read_text()
BUILT_IN = [RepeatedCall(), Stagnation(), BudgetShare(), Pattern("x"), Scope(tools=("*",))]


def of_page(word: str) -> Any:
    """What the block of code that says `word` first makes of it."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if word in block)
    names: dict[str, Any] = {"__name__": "docs.rules"}
    exec(compile(code, "docs/rules.md", "exec"), names)
    return names[word]


def test_every_built_in_watcher_is_in_the_table_with_its_settings() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE))
    assert set(rows) == {watcher.name for watcher in watchers_of(BUILT_IN)}
    for watcher in BUILT_IN:
        row = rows[watcher.name]
        assert row.startswith(f"{type(watcher).__name__}(")
        for setting, default in re.findall(r"(\w+)=([^,()]+|\(.*?\))(?=[,)])", row):
            if default != "..." and setting not in ("tools",):
                assert getattr(watcher, setting) == eval(default), f"{setting} of {watcher.name}"


def test_a_watcher_of_ones_own_is_as_short_as_the_page_says() -> None:
    (watcher,) = watchers_of(of_page("TooManyFailures")())
    failed, fine = call("f", state="failed"), call("f")
    verdicts = watched(watcher, seen(failed, failed), seen(fine), seen(failed, fine), seen(failed))
    assert [isinstance(verdict, Nudge) for verdict in verdicts] == [False, False, True, False]
    assert isinstance(watcher.watch(seen(failed), None), Watched)


def test_the_budgets_of_the_page_stop_where_it_says() -> None:
    budgets = of_page("budgets")
    assert isinstance(budgets, Budgets)
    found = passed(budgets, Spent(), Spent(cost=4.99), Spent(), next_tokens=10, next_cost=0.02)
    assert found is not None
    assert found.scope == "session"


def test_the_prices_of_the_page_are_what_it_says() -> None:
    prices = of_page("prices")
    million = Usage(prompt_tokens=1_000_000, completion_tokens=0)
    assert [prices(model, million) for model in ("gpt-x", "gpt-x-mini-2", "gpt-x-2")] == [2.5, 0.15, None]


def test_the_steps_of_the_page_lead_to_their_end() -> None:
    steps = of_page("steps")
    state = steps.begin()
    walked = []
    for one in (call("write_plan"), call("change_of_plan"), call("write_plan"), call("run_tests", result="0 failed")):
        state, problems = steps.after(state, one)
        assert problems == ()
        walked.append(state.step)
    assert walked == ["act", "plan", "act", "report"]
    assert steps.premature(state) is None


def test_rules_go_where_the_page_says() -> None:
    config = of_page("config")
    assert isinstance(config, AgentLoopConfig)
    assert config.budgets == Budgets(turn=Budget(rounds=20))
    assert [watcher.name for watcher in config.watchers] == ["repeated_call"]
