"""How a loop behaves. Checked as a whole when it is made: what cannot work is refused with all its problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from power_loop.compaction.ladder import Strategy
from power_loop.compaction.strategies import Never
from power_loop.compaction.words import Ladder, ladder_of
from power_loop.errors import ConfigError
from power_loop.rules import Budgets, Prices, Steps, Watcher, watchers_of
from power_loop.transcript.shorten import Shortener, shortener_of
from power_loop.values import InDoubt, cleaned, compact_json, shown


def _budgets(value: object) -> Budgets:
    if not isinstance(value, Budgets):
        raise ValueError("give Budgets(turn=Budget(...), session=..., tree=...)")
    return value


def _prices(value: object) -> Prices | None:
    if value is not None and (isinstance(value, type) or not callable(value)):
        raise ValueError("give a PriceTable, GenaiPrices() or a function of model and usage")
    return cast("Prices | None", value)


def _steps(value: object) -> Steps | None:
    if value is not None and not isinstance(value, Steps):
        raise ValueError("give Steps([...])")
    return value


class AgentLoopConfig(BaseModel):
    """The settings of a `StatefulAgentLoop`. Frozen.

    Raises:
        ConfigError: a value is of the wrong type or cannot work; the message names every problem.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    system_prompt: str | None = None
    """Becomes the first message of every session made without one of its own; a session keeps the one it was made with.
    """
    max_rounds: int = Field(default=24, ge=1)
    """Answers with tools a turn may use; then one more without tools ends it."""
    context_window: int = Field(default=128_000, ge=256)
    """Tokens the model can take, its reply included."""
    max_reply_tokens: int | None = Field(default=None, ge=1)
    """The longest reply to ask for; None leaves it to the endpoint."""
    compact_at: float = Field(default=0.8, gt=0, le=1)
    """Fold history once the context holds this share of the window, less the reply."""
    compact_to: float | None = Field(default=None, gt=0, lt=1)
    """The share of it that a compaction should leave; None: three fifths of `compact_at`."""
    compaction: Annotated[Ladder, PlainValidator(ladder_of)] = ("summary",)
    """How history is folded: strategies, or their names, tried in this order; the first that leaves no more than
    `compact_to` is taken. `none` never folds: a conversation that becomes too long then ends in `ContextOverflowError`.
    """
    when_full: Annotated[Ladder, PlainValidator(ladder_of)] = ("keep_first_and_last",)
    """What is tried after them, once the window is really full."""
    temperature: float | None = Field(default=None, ge=0)
    result_limit: int | None = Field(default=None, ge=1)
    """Characters of a tool's result that the model is shown at once; None: half as many as `context_window` has tokens.
    A longer one is kept whole beside its message, and the model is shown a part, with how to read any other."""
    result_shortener: Annotated[Shortener | str, PlainValidator(shortener_of)] = "head_and_tail"
    """Makes that part: `head_and_tail`, `tail`, `structured` (JSON stays JSON), `none` (shows all of it, however long),
    or an object with a method `shorten`."""
    tool_timeout: float | None = Field(default=None, gt=0)
    """Seconds a call may take where its tool sets no limit of its own; None: no limit."""
    summary_timeout: float = Field(default=120.0, gt=0)
    """Seconds a summary may take before the turn goes on without."""
    in_doubt: InDoubt = InDoubt.REPORT
    """What becomes of a `once` call whose outcome is unknown: `report`, `retry` or `ask`."""
    tool_drift: Literal["report", "refuse", "accept"] = "report"
    """What becomes of an open call whose tool takes other arguments by now: `report` tells the model so in its result;
    `refuse` raises `ToolChangedError` before anything is written, also where the tool is gone; `accept` runs it if its
    arguments still pass."""
    approvals: Mapping[str, Literal["always", "never"]] = Field(default_factory=dict)
    """Which calls a person must approve, by tool name or pattern (`*`): `always`, `never`; what is not named here is as
    its tool says. A session made with `approvals` of its own goes by those first."""
    approval_timeout: float | None = Field(default=None, gt=0)
    """Seconds after which an approval nobody has given is taken for denied, by whoever resumes then; None: never."""
    budgets: Annotated[Budgets, PlainValidator(_budgets)] = Budgets()
    """What a turn, a session and a session tree may use in rounds, tokens, cost and time. The request that would pass a
    limit is not made: the turn ends as `budget_exceeded`, and a `resume` with more goes on."""
    prices: Annotated[Prices | None, PlainValidator(_prices)] = None
    """What requests cost: a `PriceTable`, `GenaiPrices` or a function of model and usage. None: costs are not known."""
    watchers: Annotated[Sequence[Watcher], PlainValidator(watchers_of)] = ()
    """Who looks at each round after it has ended, and says whether the session goes on."""
    watch_timeout: float = Field(default=10.0, gt=0)
    """Seconds a watcher may take; then the round goes on without its word."""
    steps: Annotated[Steps | None, PlainValidator(_steps)] = None
    """Which tools may be used when."""
    max_recoveries: int = Field(default=3, ge=1)
    """How often a session may be taken up again without progress before it is quarantined."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """`NORMAL` gives up the promise about power cuts."""
    busy_timeout: float = Field(default=10.0, ge=0)
    """Seconds a commit waits while another program holds the write lock."""
    warm_sessions: int = Field(default=256, ge=0)
    """How many sessions to keep in memory between turns, so that a turn does not read its history again."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the body of every request, as the endpoint wants them."""

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(
                    [
                        f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}"
                        f" (got {shown(problem['input'])})"
                        for problem in error.errors(include_url=False, include_context=False)
                    ]
                ) from None

    @model_validator(mode="after")
    def _can_work(self) -> AgentLoopConfig:
        if self.max_reply_tokens is not None and self.max_reply_tokens >= self.context_window:
            raise ValueError(
                f"max_reply_tokens {self.max_reply_tokens} leaves nothing of a context_window of {self.context_window}"
            )
        if self.compact_to is not None and self.compact_to >= self.compact_at:
            raise ValueError(
                f"compact_to {self.compact_to} is not below compact_at {self.compact_at}: nothing would be gained"
            )
        if self.system_prompt is not None and not self.system_prompt.strip():
            raise ValueError("system_prompt is empty; leave it out or write one")
        if self.system_prompt is not None and cleaned(self.system_prompt) != self.system_prompt:
            raise ValueError("system_prompt holds a lone surrogate; it is not valid Unicode")
        try:
            pydantic_core.from_json(compact_json(self.extra), allow_inf_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"extra is not JSON ({error})") from None
        return self

    @property
    def remembers(self) -> bool:
        """Whether there are rules that remember something of a session."""
        return bool(self.watchers) or self.steps is not None

    @property
    def room(self) -> int:
        """Tokens the context may have: the window less the reply."""
        return self.context_window - (self.max_reply_tokens or 0)

    @property
    def fold_at(self) -> int:
        """Tokens in the context at which history is folded."""
        return round(self.compact_at * self.room)

    @property
    def fold_to(self) -> int:
        """Tokens that a compaction should leave in it."""
        return round((0.6 * self.compact_at if self.compact_to is None else self.compact_to) * self.room)

    @property
    def folds(self) -> bool:
        """Whether history is ever folded."""
        return any(strategy.name != Never.name for strategy in self.ladder)

    @property
    def shown_at_once(self) -> int:
        """Characters of a tool's result."""
        return self.context_window // 2 if self.result_limit is None else self.result_limit

    @property
    def shortener(self) -> Shortener:
        return cast("Shortener", self.result_shortener)

    @property
    def ladder(self) -> Sequence[Strategy]:
        return cast("Sequence[Strategy]", self.compaction)

    @property
    def ladder_when_full(self) -> Sequence[Strategy]:
        return cast("Sequence[Strategy]", self.when_full)
