"""A view of each point, and each verdict there is."""

from __future__ import annotations

from typing import Any, Final

from llm_client.service import ChatRequest
from power_loop import hooks as h
from power_loop.engine.calls import CallState
from power_loop.hooks.verdicts import Verdict
from power_loop.values import Effect

WHERE: Final[dict[str, Any]] = {"session_id": "s", "turn": 2, "round": 1}
_CALL: Final[dict[str, Any]] = {
    "call_id": "c1",
    "name": "pay",
    "arguments": '{"amount":5}',
    "attempt": 1,
    "effect": Effect.ONCE,
}
REQUEST: Final = ChatRequest(messages=('{"role":"user","content":"hello"}',))
OTHER_REQUEST: Final = ChatRequest(messages=('{"role":"user","content":"good day"}',))

VIEWS: Final[dict[h.Point[Any, Any], h.View]] = {
    h.TURN_START: h.TurnStart(**WHERE, inputs=("hello",), resumed=False),
    h.MEMORY_RECALL: h.MemoryRecall(**WHERE, text="hello"),
    h.ROUND_START: h.RoundStart(**WHERE),
    h.MODEL_REQUEST: h.ModelRequest(**WHERE, request=REQUEST),
    h.MODEL_ANSWER: h.ModelAnswer(**WHERE, text="I pay", calls=(), usage=None),
    h.BATCH_START: h.BatchStart(**WHERE, calls=(h.BatchCall(**_CALL),)),
    h.CALL_START: h.CallStart(**WHERE, **_CALL),
    h.CALL_ERROR: h.CallError(**WHERE, **_CALL, state=CallState.FAILED, error="broke"),
    h.CALL_END: h.CallEnd(**WHERE, **_CALL, state=CallState.SUCCEEDED, result="paid"),
    h.BATCH_END: h.BatchEnd(**WHERE, calls=(h.EndedCall(**_CALL, state=CallState.SUCCEEDED, result="paid"),)),
    h.ROUND_END: h.RoundEnd(**WHERE),
    h.COMPACTION_START: h.CompactionStart(**WHERE, tokens=90, window=100, full=False),
    h.COMPACTION_END: h.CompactionEnd(**WHERE, strategy="summary", folded=7, before_tokens=90, after_tokens=40),
    h.MESSAGE_APPEND: h.MessageAppend(**WHERE, role="user", text="hello"),
    h.TURN_END: h.TurnEnd(**WHERE, text="paid"),
}

VERDICTS: Final[tuple[Verdict, ...]] = (
    h.Proceed(),
    h.Stop("too late"),
    h.Deny("not this"),
    h.Skip("done before"),
    h.Retry("look again"),
    h.ReplaceText("other words"),
    h.ReplaceRequest(OTHER_REQUEST),
    h.ReplaceArguments({"amount": 4}),
)

TAKES: Final[dict[h.Point[Any, Any], str]] = {
    h.TURN_START: "Proceed Stop",
    h.MEMORY_RECALL: "Proceed ReplaceText Stop",
    h.ROUND_START: "Proceed Stop",
    h.MODEL_REQUEST: "Proceed ReplaceRequest Skip Stop",
    h.MODEL_ANSWER: "Proceed ReplaceText Retry Stop",
    h.BATCH_START: "Proceed Deny Stop",
    h.CALL_START: "Proceed ReplaceArguments Deny Skip Stop",
    h.CALL_ERROR: "Proceed ReplaceText Retry Stop",
    h.CALL_END: "Proceed ReplaceText Stop",
    h.BATCH_END: "Proceed Stop",
    h.ROUND_END: "Proceed Stop",
    h.COMPACTION_START: "Proceed Skip Stop",
    h.COMPACTION_END: "Proceed",
    h.MESSAGE_APPEND: "Proceed ReplaceText Stop",
    h.TURN_END: "Proceed Retry",
}
"""Written out here once more, so that a verdict that comes or goes is noticed."""

REPLACED: Final[dict[h.Point[Any, Any], str]] = {
    h.MEMORY_RECALL: "recalled",
    h.MODEL_REQUEST: "request",
    h.MODEL_ANSWER: "text",
    h.CALL_START: "arguments",
    h.CALL_ERROR: "error",
    h.CALL_END: "result",
    h.MESSAGE_APPEND: "text",
}
"""The field of the view that a replacement is of."""


def closed(point: h.Point[Any, Any], why: str) -> Verdict:
    """What a failing guard has to mean at a point."""
    if point in (h.BATCH_START, h.CALL_START):
        return h.Deny(why)
    if point in (h.CALL_END, h.CALL_ERROR):
        return h.ReplaceText(f"[This result was withheld: {why}]")
    if point is h.COMPACTION_START:
        return h.Skip(why)
    return h.Proceed() if point in (h.COMPACTION_END, h.TURN_END) else h.Stop(why)


def replacement(verdict: Verdict) -> object:
    """What stands in the view after it."""
    match verdict:
        case h.ReplaceText(text) | h.ReplaceArguments(text):
            return text
        case h.ReplaceRequest(request):
            return request
    raise AssertionError(verdict)
