"""Prices: unknown is never free; the published list is read without a network."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import Usage
from power_loop.rules import GenaiPrices, Price, Prices, PriceTable, priced

ROOT = Path(__file__).parents[2]
USED = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_tokens=400_000, reasoning_tokens=300_000)
TABLE = PriceTable(
    {
        "gpt-x": Price(input=2, output=10, cached_input=1),
        "gpt-x-mini*": Price(input=1, output=0),
        "gpt-x-mini-2*": Price(input=3, output=0),
        "gpt-x-mini-old": Price(input=4, output=0),
    }
)


@pytest.mark.acceptance("G5")
@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-x", 0.6 * 2 + 0.4 * 1 + 0.5 * 10),
        ("gpt-x-mini", 1.0),
        ("gpt-x-mini-3", 1.0),
        ("gpt-x-mini-2026", 3.0),
        ("gpt-x-mini-old", 4.0),
        ("gpt-x-mini-older", 1.0),
        ("gpt-x-2026-01-01", None),
        ("GPT-X", None),
        ("gpt", None),
        ("", None),
    ],
)
def test_the_exact_name_counts_before_the_longest_beginning(model: str, cost: float | None) -> None:
    found = TABLE(model, USED)
    assert found == (None if cost is None else pytest.approx(cost))


def test_a_star_is_for_every_other_model() -> None:
    table = PriceTable({"a": Price(input=1, output=1), "*": Price(input=2, output=2)}, per=1000)
    used = Usage(prompt_tokens=500, completion_tokens=500)
    assert [table(model, used) for model in ("a", "b", "")] == [1.0, 2.0, 2.0]


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**8))
def test_cached_tokens_are_part_of_the_prompt(prompt: int, completion: int, cached: int) -> None:
    used = Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=completion)
    dear, cheap = Price(input=3, output=5), Price(input=3, output=5, cached_input=1)
    without = PriceTable({"m": dear})("m", used)
    with_cache = PriceTable({"m": cheap})("m", used)
    assert without == pytest.approx((prompt * 3 + completion * 5) / 1e6)
    assert with_cache == pytest.approx((prompt * 3 + completion * 5 - 2 * min(prompt, cached)) / 1e6)
    assert with_cache is not None
    assert with_cache >= 0


def test_a_table_does_not_change_with_the_mapping_it_was_made_of() -> None:
    mine = {"m": Price(input=1, output=1)}
    table = PriceTable(mine)
    mine.clear()
    assert table("m", Usage(prompt_tokens=1_000_000, completion_tokens=0)) == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: PriceTable({}),
        lambda: PriceTable([("m", Price(input=1, output=1))]),
        lambda: PriceTable({"m": 2.0}),
        lambda: PriceTable({"": Price(input=1, output=1)}),
        lambda: PriceTable({"a*b": Price(input=1, output=1)}),
        lambda: PriceTable({"m": Price(input=1, output=1)}, per=0),
        lambda: Price(input=-1, output=1),
        lambda: Price(input=1, output=math.inf),
        lambda: Price(input=1, output=None),
        lambda: Price(input=1, output=1, cached_input=math.nan),
        lambda: Price(input=True, output=1),
    ],
)
def test_what_is_no_price_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"give|end of a name"):
        make()


def _raises(model: str, usage: Usage) -> float | None:
    raise KeyError(model)


@pytest.mark.acceptance("G5")
@pytest.mark.parametrize(
    ("prices", "cost", "said"),
    [
        (lambda model, usage: 2, 2.0, None),
        (lambda model, usage: 0, 0.0, None),
        (lambda model, usage: None, None, None),
        (_raises, None, "the prices raised KeyError('m') for the model 'm'"),
        (lambda model, usage: -1, None, "the prices gave -1"),
        (lambda model, usage: math.nan, None, "the prices gave nan"),
        (lambda model, usage: "2", None, "the prices gave '2'"),
        (lambda model, usage: True, None, "the prices gave True"),
    ],
)
def test_prices_of_an_app_are_checked(prices: Any, cost: float | None, said: str | None) -> None:
    found = priced(prices, "m", USED)
    assert found.cost == cost
    assert (found.problem is None) if said is None else (found.problem or "").startswith(said)


def test_all_of_them_are_prices() -> None:
    assert isinstance(TABLE, Prices)
    assert isinstance(GenaiPrices(), Prices)


def test_the_published_list_knows_models_and_no_others() -> None:
    prices = GenaiPrices()
    with_cache, without = prices("gpt-4o", USED), prices("gpt-4o", Usage(prompt_tokens=1_000_000, completion_tokens=0))
    assert without is not None
    assert with_cache is not None
    assert 0 < without < with_cache < 20
    more_cached = Usage(prompt_tokens=10, completion_tokens=0, cached_tokens=40)
    assert prices("gpt-4o", more_cached) == prices(
        "gpt-4o", Usage(prompt_tokens=10, completion_tokens=0, cached_tokens=10)
    )
    for unknown in ("", "no-such-model", "x" * 10_000, "gpt-4o\ud800"):
        assert prices(unknown, USED) is None
    assert GenaiPrices("nobody")("gpt-4o", USED) is None
    assert GenaiPrices("openai")("gpt-4o", USED) == with_cache


def test_a_model_without_a_price_for_what_was_used_is_not_known() -> None:
    prices = GenaiPrices("openai")
    embedding = "text-embedding-3-small"
    assert prices(embedding, Usage(prompt_tokens=100, completion_tokens=0))
    assert prices(embedding, Usage(prompt_tokens=100, completion_tokens=1)) is None


OFFLINE = """
import sys, threading

def no(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__" or event == "_thread.start_new_thread":
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(no)
from power_loop.rules import GenaiPrices
assert "genai_prices" not in sys.modules
from llm_client import Usage
assert GenaiPrices()("gpt-4o", Usage(prompt_tokens=1000, completion_tokens=10)) > 0
assert threading.active_count() == 1
print("known")
"""

ABSENT = """
import sys
sys.modules["genai_prices"] = None
from power_loop.errors import ConfigError
from power_loop.rules import GenaiPrices
try:
    GenaiPrices()
except ConfigError as error:
    print(error)
"""


def python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_published_list_needs_no_network_and_starts_no_thread() -> None:
    assert python(OFFLINE) == "known\n"


def test_without_the_package_the_error_says_how_to_get_it() -> None:
    assert 'pip install "power-loop[prices]"' in python(ABSENT)
