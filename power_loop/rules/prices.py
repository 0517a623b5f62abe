"""What requests cost: a function of model and usage, by the host or from a published list. Unknown is None, never 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from llm_client.service import Usage
from power_loop.errors import ConfigError
from power_loop.values import shown


@runtime_checkable
class Prices(Protocol):
    """All in one currency. Called on the event loop, around each request: it must not wait for anything."""

    def __call__(self, model: str, usage: Usage) -> float | None:
        """What this usage of the model costs; None if that is not known.

        `cached_tokens` are part of `prompt_tokens`, `reasoning_tokens` of `completion_tokens`.
        """
        ...


class Priced(NamedTuple):
    cost: float | None
    problem: str | None
    """Why the prices could not say, if that is their fault."""


def priced(prices: Prices, model: str, usage: Usage) -> Priced:
    """What the prices say, checked: one that raises, or gives no finite number of at least 0, does not know."""
    try:
        cost: object = prices(model, usage)
    except Exception as error:  # noqa: BLE001 - code of the app's
        return Priced(None, f"the prices raised {shown(error)} for the model {shown(model)}")
    if cost is None:
        return Priced(None, None)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < math.inf:
        return Priced(None, f"the prices gave {shown(cost)} for the model {shown(model)}: a cost is a number from 0 on")
    return Priced(float(cost), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one model, for so many tokens as the table says.

    Raises:
        ValueError: a price is no finite number of at least 0.
    """

    input: float
    output: float
    """Reasoning included."""
    cached_input: float | None = None
    """For prompt tokens that the endpoint had in its cache; None: as `input`."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            given: object = getattr(self, name)
            if given is None and name == "cached_input":
                continue
            if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
                raise ValueError(f"Price({name}={shown(given)}): give a number from 0 on")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by the name of the model, as the endpoint says who answered.

    A name stands for exactly that model; one that ends in `*` for all that begin so, `*` alone for all. The exact name
    counts before others, of those the longest. `gpt-x` alone is not the price of `gpt-x-mini`, nor of
    `gpt-x-2026-01-01`: a price that holds for both is written `gpt-x*`.

    Raises:
        ValueError: the table is empty, or an entry is no price.
    """

    prices: Mapping[str, Price]
    per: int = 1_000_000
    """Tokens that a price is for."""
    _beginnings: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.per, bool) or not isinstance(self.per, int) or self.per < 1:
            raise ValueError(f"PriceTable(per={shown(self.per)}): give a whole number of tokens above zero")
        if not isinstance(self.prices, Mapping) or not self.prices:
            raise ValueError('PriceTable() has no prices: give {"name of a model": Price(input=..., output=...)}')
        for name, price in self.prices.items():
            if not isinstance(name, str) or not name or not isinstance(price, Price):
                raise ValueError(f"PriceTable({shown(name)}: {shown(price)}): give a name and a Price")
            if "*" in name[:-1]:
                raise ValueError(f"PriceTable({shown(name)}: ...): a * stands at the end of a name only")
        object.__setattr__(self, "prices", dict(self.prices))
        beginnings = sorted((name[:-1] for name in self.prices if name.endswith("*")), key=len, reverse=True)
        object.__setattr__(self, "_beginnings", tuple(beginnings))

    def __call__(self, model: str, usage: Usage) -> float | None:
        price = self._price(model)
        if price is None:
            return None
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cached_input = price.input if price.cached_input is None else price.cached_input
        return (
            (usage.prompt_tokens - cached) * price.input
            + cached * cached_input
            + usage.completion_tokens * price.output
        ) / self.per

    def _price(self, model: str) -> Price | None:
        if model in self.prices:
            return self.prices[model]
        beginning = next((one for one in self._beginnings if model.startswith(one)), None)
        return None if beginning is None else self.prices[f"{beginning}*"]


class GenaiPrices:
    """The published list of the package `genai-prices`, in US dollars: what comes with the package, never the network.

    A newer package has newer prices. An app that starts that package's own updater gets what it brought. A model that
    is not in the list, or has no price for what was used, is not known.

    Args:
        provider: Whose prices, as the package names them ("openai", "openrouter", ...); None: by the model's name.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, provider: str | None = None) -> None:
        try:
            import genai_prices
        except ModuleNotFoundError as error:
            if error.name != "genai_prices":
                raise
            raise ConfigError(
                ['GenaiPrices needs the package genai-prices: pip install "power-loop[prices]"']
            ) from None
        self.provider = provider
        self._usage, self._calculate = genai_prices.Usage, genai_prices.calc_price
        self("", Usage(prompt_tokens=0, completion_tokens=0))  # reads the list, so that no request waits for it

    def __call__(self, model: str, usage: Usage) -> float | None:
        used = self._usage(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=min(usage.cached_tokens, usage.prompt_tokens),
            output_tokens=usage.completion_tokens,
        )
        try:
            found = self._calculate(used, model, provider_id=self.provider)
        except LookupError:
            return None
        for tokens, price in ((usage.prompt_tokens, "input_mtok"), (usage.completion_tokens, "output_mtok")):
            if tokens and getattr(found.model_price, price, None) is None:
                return None
        return float(found.total_price)
