"""What comes back: how a turn ended, and what was spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llm_client.service import Usage
from power_loop.engine.calls import OpenCall
from power_loop.store.records import UsageInfo
from power_loop.values import SessionId, Status

REFUSED: Final = "overflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatefulResult:
    """How a turn ended. All of it is on stable storage.

    `status` says which way: `completed`; `hit_round_limit` (answered without tools at the limit); `cancelled` and
    `stopped` (by the caller's task, by a stop event or `request_stop`); `pending_tools` (calls in doubt wait for a
    person), `awaiting_approval` and `waiting_for_input` (calls wait for `approve` or `deny`, or for `submit_results`;
    nothing is held meanwhile). With open calls in `pending_tool_calls` the session takes no input until they are
    resumed or aborted.
    """

    session_id: SessionId
    turn: int
    """The turn's number; 0 if the session never had one."""
    status: Status
    final_text: str
    """What the model said last in this turn; empty if it did not come to that."""
    output: object | None = None
    rounds: int = 0
    """Answers of the model in this turn; the wrap-up at the limit is none."""
    usage: Usage
    """Tokens of this turn, all its model calls together."""
    pending_tool_calls: tuple[OpenCall, ...] = ()
    context_left: float | None = None
    """What remains of the model's context, in percent; None where nobody has counted."""
    stop_reason: str | None = None
    """The model's finish reason, or why the turn ended otherwise; `idle` when there was nothing to resume."""


@dataclass(frozen=True, slots=True)
class SessionUsage:
    """Every model call of a session, and their sums. Iterates over the calls.

    A sum is over what endpoints reported; a `cost` that is unknown for any call is None, never 0. Requests that were
    refused as too long (`overflow`) are listed with what the endpoint counted, and are in no sum: they cost nothing.
    """

    calls: tuple[UsageInfo, ...]

    def __iter__(self) -> Iterator[UsageInfo]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def total(self) -> Usage:
        return summed(self.calls)

    @property
    def prompt_tokens(self) -> int:
        return self.total.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        return self.total.completion_tokens

    @property
    def cost(self) -> float | None:
        paid = [call.cost for call in self.calls if call.purpose != REFUSED]
        known = [cost for cost in paid if cost is not None]
        return sum(known) if known and len(known) == len(paid) else None

    @property
    def by_turn(self) -> dict[int, Usage]:
        turns = dict.fromkeys(call.turn for call in self.calls)
        return {turn: summed([call for call in self.calls if call.turn == turn]) for turn in turns}


def summed(calls: Sequence[UsageInfo]) -> Usage:
    calls = [call for call in calls if call.purpose != REFUSED]
    return Usage(
        prompt_tokens=sum(call.prompt_tokens or 0 for call in calls),
        completion_tokens=sum(call.completion_tokens or 0 for call in calls),
        cached_tokens=sum(call.cached_tokens or 0 for call in calls),
        reasoning_tokens=sum(call.reasoning_tokens or 0 for call in calls),
    )
