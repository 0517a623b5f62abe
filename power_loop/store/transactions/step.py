"""The facts of one commit, taken together: by how much they make a session grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from power_loop.engine import facts as f
from power_loop.engine.recover import is_progress
from power_loop.store.port import Port
from power_loop.store.transactions import rows
from power_loop.store.transactions.begin import Claim
from power_loop.values import CallKey, Micros

ENDS: Final = (f.AnswerReceived, f.TurnCompleted, f.TurnParked, f.TurnFailed, f.TurnCancelled)


@dataclass(slots=True, kw_only=True)
class Step:
    """The facts of one commit, taken together: by how much the session grows."""

    claim: Claim
    next_seq: int = 0
    """The session's next free sequence number. An answer reserves the numbers right after it for the results of its
    calls, so that results stand in call order however they come in."""
    more_active: int = 0
    """How many more messages the model sees."""
    more_usage: int = 0
    usage_rows: int = 0
    """How many usage rows there are so far."""
    started: frozenset[CallKey] = frozenset()
    """Calls that start in the commit that requests them."""
    context: f.Context | None = None
    """How full the window is after it, if that was counted."""
    compacted: bool = False
    failed_compactions: int = 0
    ended: bool = False
    """The turn comes to its end."""
    goes_on: bool = False
    """There are facts behind the end."""
    progress: bool = False

    @classmethod
    def of(cls, claim: Claim, facts: Sequence[f.Fact]) -> Step:
        step = cls(claim=claim)
        for fact in facts:
            step.goes_on = step.ended
            step.ended = step.ended or isinstance(fact, ENDS)
            step.progress = step.progress or is_progress(fact)
            match fact:
                case f.CallsRequested():
                    step._grow(fact.message.seq + len(fact.calls) + 1)
                    step.more_usage += 1
                    step.context = fact.model_call.context
                case f.AnswerReceived():
                    step._grow(fact.message.seq + 1)
                    step.more_usage += 1
                    step.context = fact.model_call.context
                case f.CallSettled():
                    step._grow(fact.message.seq + 1)
                case f.CallsStarted():
                    step.started |= frozenset(fact.calls)
                case f.ResultsAwaited():
                    step.started |= frozenset(wait.key for wait in fact.calls)
                case f.AnswerContinued():
                    step._grow(fact.note.seq + 1, 2)
                    step.more_usage += 1
                    step.context = fact.model_call.context
                case f.Noted():
                    step._grow(fact.message.seq + 1)
                case f.AnswerDropped():
                    step.more_usage += 1
                case f.HistoryCompacted():
                    step._grow(fact.notes[-1].seq + 1, len(fact.notes) - len(fact.folded))
                    step.more_usage += len(fact.model_calls)
                    step.compacted, step.failed_compactions = True, 0
                    step.context = fact.context
                case f.CompactionFailed():
                    step.more_usage += len(fact.model_calls)
                    step.failed_compactions += 1
                case f.ContextOverflowed():
                    step.more_usage += 1
                case _:
                    pass
        return step

    def _grow(self, next_seq: int, messages: int = 1) -> None:
        self.next_seq = max(self.next_seq, next_seq)
        self.more_active += messages

    def spend(self, db: Port, at: Micros, call: f.ModelCall) -> None:
        self.usage_rows += 1
        rows.insert_usage(db, at, self.claim.key, self.claim.turn, self.usage_rows, call)
