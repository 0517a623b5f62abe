"""One example of every fact, and views of calls, for tests of the pure core."""

from __future__ import annotations

from typing import Any

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.engine.snapshot import CallView, Snapshot
from power_loop.engine.turns import TurnState
from power_loop.values import CallKey, Effect, SessionId

KEY = CallKey(3, 0)
STAMP: dict[str, Any] = {"session": SessionId("s"), "turn": 1}
MESSAGE = f.NewMessage(seq=4, role="tool", body="{}")
SPENT = f.ModelCall(purpose="answer", model="m", usage=None, milliseconds=1)

FACTS: tuple[f.Fact, ...] = (
    f.TurnBegan(**STAMP, origin=1, request_id=None, input=()),
    f.InputSteered(**STAMP, messages=(MESSAGE,)),
    f.AnswerReceived(**STAMP, round=1, message=MESSAGE, model_call=SPENT, status="completed", stop_reason="stop"),
    f.CallsRequested(**STAMP, round=1, message=MESSAGE, model_call=SPENT, calls=()),
    f.AnswerContinued(**STAMP, round=1, message=MESSAGE, model_call=SPENT, note=MESSAGE, by="steps"),
    f.Noted(**STAMP, message=MESSAGE, by="watchers"),
    f.RulesRemembered(**STAMP, memories=()),
    f.TurnCompleted(**STAMP, answer_seq=3, stop_reason="complete"),
    f.ApprovalsRequested(**STAMP, calls=(f.Wait(key=KEY, arguments="{}"),)),
    f.ResultsAwaited(**STAMP, calls=(f.Wait(key=KEY, arguments="{}"),)),
    f.ApprovalDecided(**STAMP, key=KEY, decision="approved", by=None),
    f.AnswerDropped(**STAMP, model_call=SPENT),
    f.CallsStarted(**STAMP, calls=(KEY,)),
    f.CallSettled(**STAMP, key=KEY, state=CallState.FAILED, settled_by=SettledBy.RUN, message=MESSAGE),
    f.RoundClosed(**STAMP, round=1),
    f.HistoryCompacted(
        **STAMP, folded=(1,), notes=(MESSAGE,), strategy="summary", before_tokens=9, after_tokens=4, window=9
    ),
    f.CompactionFailed(**STAMP, strategy="summary", reason="none"),
    f.ContextOverflowed(**STAMP, limit=8, requested=9, model_call=SPENT),
    f.CompactionUndone(**STAMP, compaction=1),
    f.SessionQuarantined(**STAMP, recoveries=3),
    f.TurnParked(**STAMP, status="pending_tools", stop_reason="ask"),
    f.TurnFailed(**STAMP, error_code="model.error", error="no"),
    f.TurnCancelled(**STAMP, status="stopped", stop_reason="enough"),
    f.TurnInterrupted(**STAMP),
    f.CallsAborted(**STAMP, reason="no"),
)


def call(key: CallKey = KEY, **more: Any) -> CallView:
    given: dict[str, Any] = {"id": f"c{key.ordinal}", "name": "t", "arguments": "{}", "effect": Effect.ONCE, **more}
    return CallView(key=key, **given)


def snapshot(state: TurnState, *calls: CallView, **more: Any) -> Snapshot:
    return Snapshot(turn=1, state=state, calls=calls, **more)
