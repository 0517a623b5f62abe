"""Facts as the text of their row, and back.

An event says what happened and where the rest stands: texts of messages, arguments of calls, whole results and what was
decided are in rows of their own, are never changed there, and are not written twice. `packed` stands in the way of
every commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from llm_client.service import Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy, WaitKind
from power_loop.engine.outputs import Output
from power_loop.values import CallKey, SessionId

Packed: TypeAlias = Mapping[str, Any]
"""One fact as JSON has it: `fact`, `turn`, and what only it knows."""


class Beside(Protocol):
    """What the rows beside an event say. Each method raises `StoreDamagedError` where that is gone or no more sound."""

    def message(self, seq: int) -> f.NewMessage: ...

    def call(self, key: CallKey) -> f.RequestedCall: ...

    def output(self, seq: int) -> Output: ...

    def wait(self, key: CallKey, kind: WaitKind) -> f.Wait: ...

    def decision(self, key: CallKey) -> Decided:
        """What was said of an approval."""
        ...


class Decided(Protocol):
    @property
    def decided_by(self) -> str | None: ...

    @property
    def said(self) -> str | None: ...

    @property
    def changed(self) -> str | None: ...


def packed(facts: Iterable[f.Fact]) -> str:
    """Facts of one commit as a JSON array, in order."""
    return f"[{','.join([_PACK[type(fact)](fact) for fact in facts])}]"


def parts(body: str) -> list[Packed]:
    """The facts of a row, each as JSON has it. Raises `ValueError` for what `packed` has not made."""
    found = json.loads(body)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("no array of facts")
    return found


def unpacked(part: Packed, session: SessionId, rows: Beside) -> f.Fact:
    """The fact again, equal to the one that was packed.

    Raises:
        StoreDamagedError: a row it needs is gone or damaged.
        KeyError, TypeError, ValueError: it is none that this release knows.
    """
    return _UNPACK[part["fact"]]({"session": session, "turn": part["turn"]}, part, rows)


_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_text: Final = json.encoder.encode_basestring_ascii


def _maybe(text: str | None) -> str:
    return "null" if text is None else _text(text)


def _message(message: f.NewMessage) -> str:
    """Its number. In a list: that of its place was given, and is the same."""
    return f"{message.seq}" if message.place != message.seq else f"[{message.seq}]"


def _messages(messages: Sequence[f.NewMessage]) -> str:
    return f"[{','.join([_message(one) for one in messages])}]"


def _keys(keys: Iterable[CallKey]) -> str:
    return f"[{','.join([f'[{seq},{ordinal}]' for seq, ordinal in keys])}]"


def _spent(call: f.ModelCall) -> str:
    usage, context, cost, more = call.usage, call.context, call.cost, ""
    if usage is not None:
        numbers = f"{usage.prompt_tokens},{usage.completion_tokens},{usage.cached_tokens},{usage.reasoning_tokens}"
        more = f',"usage":[{numbers}]'
    if context is not None:
        more += f',"context":[{context.tokens},{context.window}]'
    if cost is not None:
        more += f',"cost":{cost!r}'
    said = f'"purpose":{_text(call.purpose)},"model":{_text(call.model)},"milliseconds":{call.milliseconds}'
    return f"{{{said}{more}}}"


def _all_spent(calls: Iterable[f.ModelCall]) -> str:
    return f"[{','.join([_spent(call) for call in calls])}]"


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers in their order, as stretches from one to another: history is folded by the hundred."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _say(fact: f.Fact, more: str) -> str:
    """`more`: what it knows beside its turn, as members of a JSON object."""
    return f'{{"fact":"{type(fact).__name__}","turn":{fact.turn},{more}}}'


# Written by hand, not by an encoder: each of these is a part of every turn, between BEGIN and COMMIT.
_PACK: Final[Mapping[type[f.Fact], Callable[[Any], str]]] = {
    f.TurnBegan: lambda a: _say(
        a,
        f'"origin":{a.origin},"request_id":{_maybe(a.request_id)},"messages":{_messages(a.input)}'
        + (f',"open_calls":{_keys([call.key for call in a.open_calls])}' if a.open_calls else ""),
    ),
    f.InputSteered: lambda a: _say(a, f'"messages":{_messages(a.messages)}'),
    f.AnswerReceived: lambda a: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},"model_call":{_spent(a.model_call)},'
        f'"status":{_text(a.status)},"stop_reason":{_text(a.stop_reason)}',
    ),
    f.CallsRequested: lambda a: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},"model_call":{_spent(a.model_call)},'
        f'"calls":{_keys([call.key for call in a.calls])}',
    ),
    f.AnswerDropped: lambda a: _say(a, f'"model_call":{_spent(a.model_call)}'),
    f.AnswerContinued: lambda a: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},"model_call":{_spent(a.model_call)},'
        f'"note":{_message(a.note)},"by":{_text(a.by)}',
    ),
    f.Noted: lambda a: _say(a, f'"message":{_message(a.message)},"by":{_text(a.by)}'),
    f.TurnCompleted: lambda a: _say(a, f'"answer_seq":{a.answer_seq},"stop_reason":{_text(a.stop_reason)}'),
    f.ApprovalsRequested: lambda a: _say(a, f'"calls":{_keys([wait.key for wait in a.calls])}'),
    f.ResultsAwaited: lambda a: _say(a, f'"calls":{_keys([wait.key for wait in a.calls])}'),
    # What a rule remembered is written over by what it remembers next: it stands nowhere else.
    f.RulesRemembered: lambda a: _say(a, f'"memories":{_encode([[one.name, one.memory] for one in a.memories])}'),
    f.CallsStarted: lambda a: _say(a, f'"calls":{_keys(a.calls)}'),
    f.CallSettled: lambda a: _say(
        a,
        f'"key":[{a.key.seq},{a.key.ordinal}],"state":"{a.state}","settled_by":"{a.settled_by}",'
        f'"message":{_message(a.message)},"output":{"false" if a.output is None else "true"}',
    ),
    f.RoundClosed: lambda a: _say(a, f'"round":{a.round}'),
    f.HistoryCompacted: lambda a: _say(
        a,
        f'"folded":{_encode(_runs(a.folded))},"notes":{_messages(a.notes)},"strategy":{_text(a.strategy)},'
        f'"before_tokens":{a.before_tokens},"after_tokens":{a.after_tokens},"window":{a.window},'
        f'"model":{_maybe(a.model)},"model_calls":{_all_spent(a.model_calls)}',
    ),
    f.CompactionFailed: lambda a: _say(
        a,
        f'"strategy":{_text(a.strategy)},"reason":{_text(a.reason)},"model_calls":{_all_spent(a.model_calls)}',
    ),
    f.CompactionUndone: lambda a: _say(a, f'"compaction":{a.compaction}'),
    f.ContextOverflowed: lambda a: _say(
        a,
        f'"limit":{_encode(a.limit)},"requested":{_encode(a.requested)},"model_call":{_spent(a.model_call)}',
    ),
    f.TurnParked: lambda a: _say(a, f'"status":{_text(a.status)},"stop_reason":{_text(a.stop_reason)}'),
    # What became of the turn later may have taken the place of its error.
    f.TurnFailed: lambda a: _say(a, f'"error_code":{_text(a.error_code)},"error":{_text(a.error)}'),
    f.TurnCancelled: lambda a: _say(a, f'"status":{_text(a.status)},"stop_reason":{_text(a.stop_reason)}'),
    f.TurnInterrupted: lambda a: _say(a, f'"stop_reason":{_text(a.stop_reason)}'),
    f.SessionQuarantined: lambda a: _say(a, f'"recoveries":{a.recoveries}'),
    f.ApprovalDecided: lambda a: _say(a, f'"key":[{a.key.seq},{a.key.ordinal}],"decision":{_text(a.decision)}'),
    f.CallsAborted: lambda a: _say(a, f'"calls":{_keys(a.calls)},"reason":{_text(a.reason)}'),
}


def _at(said: int | list[int], rows: Beside) -> f.NewMessage:
    """The message of that number."""
    if isinstance(said, int):
        return rows.message(said)
    (seq,) = said
    found = rows.message(seq)
    return f.NewMessage(
        seq=seq, role=found.role, body=found.body, provider=found.provider, place=seq, pinned=found.pinned
    )


def _ats(said: Sequence[int | list[int]], rows: Beside) -> tuple[f.NewMessage, ...]:
    return tuple([_at(one, rows) for one in said])


def _keys_of(said: Sequence[Sequence[int]]) -> tuple[CallKey, ...]:
    return tuple([CallKey(*key) for key in said])


def _usage(said: Sequence[int]) -> Usage:
    prompt, completion, cached, reasoning = said
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=reasoning)


def _call(said: Packed) -> f.ModelCall:
    usage, context = said.get("usage"), said.get("context")
    return f.ModelCall(
        purpose=said["purpose"],
        model=said["model"],
        usage=None if usage is None else _usage(usage),
        milliseconds=said["milliseconds"],
        cost=said.get("cost"),
        context=None if context is None else f.Context(tokens=context[0], window=context[1]),
    )


def _calls(said: Sequence[Packed]) -> tuple[f.ModelCall, ...]:
    return tuple([_call(one) for one in said])


def _decided(stamp: f.Stamp, part: Packed, rows: Beside) -> f.Fact:
    key = CallKey(*part["key"])
    said = rows.decision(key)
    return f.ApprovalDecided(
        **stamp, key=key, decision=part["decision"], by=said.decided_by, reason=said.said, arguments=said.changed
    )


_UNPACK: Final[Mapping[str, Callable[[f.Stamp, Packed, Beside], f.Fact]]] = {
    "TurnBegan": lambda stamp, a, rows: f.TurnBegan(
        **stamp,
        origin=a["origin"],
        request_id=a["request_id"],
        input=_ats(a["messages"], rows),
        open_calls=tuple([rows.call(key) for key in _keys_of(a.get("open_calls", ()))]),
    ),
    "InputSteered": lambda stamp, a, rows: f.InputSteered(**stamp, messages=_ats(a["messages"], rows)),
    "AnswerReceived": lambda stamp, a, rows: f.AnswerReceived(
        **stamp,
        round=a["round"],
        message=_at(a["message"], rows),
        model_call=_call(a["model_call"]),
        status=a["status"],
        stop_reason=a["stop_reason"],
    ),
    "CallsRequested": lambda stamp, a, rows: f.CallsRequested(
        **stamp,
        round=a["round"],
        message=_at(a["message"], rows),
        model_call=_call(a["model_call"]),
        calls=tuple([rows.call(key) for key in _keys_of(a["calls"])]),
    ),
    "AnswerDropped": lambda stamp, a, rows: f.AnswerDropped(**stamp, model_call=_call(a["model_call"])),
    "AnswerContinued": lambda stamp, a, rows: f.AnswerContinued(
        **stamp,
        round=a["round"],
        message=_at(a["message"], rows),
        model_call=_call(a["model_call"]),
        note=_at(a["note"], rows),
        by=a["by"],
    ),
    "Noted": lambda stamp, a, rows: f.Noted(**stamp, message=_at(a["message"], rows), by=a["by"]),
    "TurnCompleted": lambda stamp, a, rows: f.TurnCompleted(
        **stamp, answer_seq=a["answer_seq"], stop_reason=a["stop_reason"]
    ),
    "ApprovalsRequested": lambda stamp, a, rows: f.ApprovalsRequested(
        **stamp, calls=tuple([rows.wait(key, WaitKind.APPROVAL) for key in _keys_of(a["calls"])])
    ),
    "ResultsAwaited": lambda stamp, a, rows: f.ResultsAwaited(
        **stamp, calls=tuple([rows.wait(key, WaitKind.RESULT) for key in _keys_of(a["calls"])])
    ),
    "RulesRemembered": lambda stamp, a, rows: f.RulesRemembered(
        **stamp, memories=tuple([f.Memory(name=name, memory=memory) for name, memory in a["memories"]])
    ),
    "CallsStarted": lambda stamp, a, rows: f.CallsStarted(**stamp, calls=_keys_of(a["calls"])),
    "CallSettled": lambda stamp, a, rows: f.CallSettled(
        **stamp,
        key=CallKey(*a["key"]),
        state=CallState(a["state"]),
        settled_by=SettledBy(a["settled_by"]),
        message=(message := _at(a["message"], rows)),
        output=rows.output(message.seq) if a["output"] else None,
    ),
    "RoundClosed": lambda stamp, a, rows: f.RoundClosed(**stamp, round=a["round"]),
    "HistoryCompacted": lambda stamp, a, rows: f.HistoryCompacted(
        **stamp,
        folded=tuple([seq for first, last in a["folded"] for seq in range(first, last + 1)]),
        notes=_ats(a["notes"], rows),
        strategy=a["strategy"],
        before_tokens=a["before_tokens"],
        after_tokens=a["after_tokens"],
        window=a["window"],
        model=a["model"],
        model_calls=_calls(a["model_calls"]),
    ),
    "CompactionFailed": lambda stamp, a, rows: f.CompactionFailed(
        **stamp, strategy=a["strategy"], reason=a["reason"], model_calls=_calls(a["model_calls"])
    ),
    "CompactionUndone": lambda stamp, a, rows: f.CompactionUndone(**stamp, compaction=a["compaction"]),
    "ContextOverflowed": lambda stamp, a, rows: f.ContextOverflowed(
        **stamp, limit=a["limit"], requested=a["requested"], model_call=_call(a["model_call"])
    ),
    "TurnParked": lambda stamp, a, rows: f.TurnParked(**stamp, status=a["status"], stop_reason=a["stop_reason"]),
    "TurnFailed": lambda stamp, a, rows: f.TurnFailed(**stamp, error_code=a["error_code"], error=a["error"]),
    "TurnCancelled": lambda stamp, a, rows: f.TurnCancelled(**stamp, status=a["status"], stop_reason=a["stop_reason"]),
    "TurnInterrupted": lambda stamp, a, rows: f.TurnInterrupted(**stamp, stop_reason=a["stop_reason"]),
    "SessionQuarantined": lambda stamp, a, rows: f.SessionQuarantined(**stamp, recoveries=a["recoveries"]),
    "ApprovalDecided": _decided,
    "CallsAborted": lambda stamp, a, rows: f.CallsAborted(**stamp, calls=_keys_of(a["calls"]), reason=a["reason"]),
}
