"""Where a turn stands: all that `decide` looks at, and how facts change it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from llm_client.service import Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, check_move
from power_loop.engine.turns import TurnState, after
from power_loop.errors import StateError
from power_loop.transcript.measure import CAREFUL, Measure
from power_loop.values import CallKey, Effect

FURTHER: Final = 8
"""After a compaction that failed the context must grow by an eighth before the next is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """An open call and what is known of its tool here and now."""

    key: CallKey
    id: str
    name: str
    arguments: str
    effect: Effect
    """As recorded when the model asked for it, or its tool's by now, whichever is the more careful."""
    state: CallState = CallState.REQUESTED
    attempt: int = 0
    in_doubt: bool = False
    """It was started by a driver that is gone."""
    decision: str | None = None
    """`retry` or `report`: what a person or this resume's caller chose for a call in doubt."""
    known: bool = True
    """A tool of this name is registered in this process."""
    changed: bool = False
    """That tool takes other arguments than the one the model called."""
    asks: bool = False
    """Whether it needs an approval has yet to be asked."""
    approved: str | None = None
    """The arguments that a person approved; None: nobody had to."""
    ends: bool = False
    """If it succeeds the turn ends: it runs when nothing else is open."""
    host: bool = False
    """The host gives its result: once started it waits for that, and no function runs here."""
    parallel: bool = False
    reconciles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    turn: int
    state: TurnState
    rounds: int = 0
    """Answers so far, those of the turns this one goes on from included; the wrap-up is none."""
    tool_calls: int = 0
    calls: tuple[CallView, ...] = ()
    """The open calls of the current round, in the order asked for."""
    context_tokens: int = 0
    inputs_wait: bool = False
    """Somebody steered this turn: input waits to be taken in."""
    may_fold: bool = True
    """False after a compaction until the provider has reported usage again."""
    fold_from: int = 0
    """After a compaction that failed: how far the context must have grown before another is worth its price."""
    overflowed: bool = False
    """The endpoint refused the last request as too long, and nothing has been folded since."""
    refused: bool = False
    """It refused one since its last answer: another refusal ends the turn."""
    watched: int = 0
    """The round that watchers have seen last."""
    measure: Measure = CAREFUL
    """How messages that nobody has counted yet are measured."""

    def call(self, key: CallKey) -> CallView:
        """An open call of this round.

        Raises:
            StateError: there is none of this key, or it is settled.
        """
        for call in self.calls:
            if call.key == key:
                return call
        raise StateError(f"call {key.ordinal} of message {key.seq} is not open")

    def after(self, fact: f.Fact) -> Snapshot:
        """The snapshot once a fact has happened.

        Raises:
            StateError: the tables have no such move.
        """
        state = after(self.state, fact)
        match fact:
            case f.CallsRequested():
                tool_calls = self.tool_calls + len(fact.calls)
                return self._answered(fact, state, rounds=self.rounds + 1, tool_calls=tool_calls)
            case f.AnswerContinued():
                continued = self._answered(fact, state, rounds=self.rounds + 1, tool_calls=self.tool_calls)
                return replace(continued, context_tokens=continued._grown(fact.note))
            case f.Noted():
                return replace(self, state=state, context_tokens=self._grown(fact.message))
            case f.ApprovalsRequested():
                for request in fact.calls:
                    check_move(self.call(request.key).state, CallState.AWAITING_APPROVAL)
                asked = {request.key for request in fact.calls}
                calls = tuple(
                    replace(c, state=CallState.AWAITING_APPROVAL, asks=False) if c.key in asked else c
                    for c in self.calls
                )
                return replace(self, state=state, calls=calls)
            case f.AnswerReceived():
                wrap_up = fact.status == "hit_round_limit"
                return self._answered(fact, state, rounds=self.rounds + (not wrap_up), tool_calls=self.tool_calls)
            case f.CallsStarted():
                return self._started(fact.calls, state)
            case f.ResultsAwaited():
                keys = {wait.key for wait in fact.calls}
                started = self._started(keys, state)
                return replace(
                    started, calls=tuple(replace(c, host=True) if c.key in keys else c for c in started.calls)
                )
            case f.CallSettled():
                check_move(self.call(fact.key).state, fact.state)
                calls = tuple(c for c in self.calls if c.key != fact.key)
                return replace(self, state=state, calls=calls, context_tokens=self._grown(fact.message))
            case f.InputSteered():
                return replace(self, state=state, context_tokens=self._grown(*fact.messages))
            case f.RoundClosed() if self.calls:
                raise StateError(f"a round with {len(self.calls)} open call(s) cannot be closed")
            case f.HistoryCompacted():
                return replace(
                    self, state=state, may_fold=False, overflowed=False, fold_from=0, context_tokens=fact.after_tokens
                )
            case f.CompactionFailed():
                grown = self.context_tokens + max(1, self.context_tokens // FURTHER)
                return replace(self, state=state, may_fold=False, overflowed=False, fold_from=grown)
            case f.ContextOverflowed():
                counted = max(self.context_tokens, fact.requested or 0, (fact.limit or 0) + 1)
                return replace(self, state=state, overflowed=True, refused=True, context_tokens=counted)
            case _:
                return self if state is self.state else replace(self, state=state)

    def _started(self, keys: Collection[CallKey], state: TurnState) -> Snapshot:
        for key in keys:
            check_move(self.call(key).state, CallState.STARTED)
        calls = tuple(
            replace(c, state=CallState.STARTED, attempt=c.attempt + 1, in_doubt=False) if c.key in keys else c
            for c in self.calls
        )
        return replace(self, state=state, calls=calls)

    def _answered(
        self,
        fact: f.CallsRequested | f.AnswerReceived | f.AnswerContinued,
        state: TurnState,
        *,
        rounds: int,
        tool_calls: int,
    ) -> Snapshot:
        """The context as the provider counted it, its answer included; where it counts nothing, our estimate."""
        context = self.context_with(fact.model_call.usage, fact.message.body)
        return replace(
            self,
            state=state,
            rounds=rounds,
            tool_calls=tool_calls,
            context_tokens=context,
            may_fold=True,
            refused=False,
        )

    def context_with(self, usage: Usage | None, body: str) -> int:
        """The tokens in the context with this answer: as the provider counted them, or else by our estimate."""
        return self.context_tokens + self.measure.tokens(body) if usage is None else usage.total_tokens

    def _grown(self, *messages: f.NewMessage) -> int:
        return self.context_tokens + sum(self.measure.tokens(message.body) for message in messages)
