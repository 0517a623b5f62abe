"""Facts as the text of their row, and back.

An event says what happened and where the rest stands: texts of messages, arguments of calls, whole results and what was
decided are in rows of their own, are never changed there, and are not written twice. `packed` stands in the way of
every commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeAlias

from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy, WaitKind
from power_loop.engine.outputs import Output
from power_loop.values import CallKey, SessionId, Status

STOP: Final = "stop"
"""Why a model ends, nearly always."""

Packed: TypeAlias = Mapping[str, Any]
"""One fact as JSON has it: `fact`, `turn`, and what only it knows."""


class Beside(Protocol):
    """What the rows beside an event say. Each method raises `StoreDamagedError` where that is gone or no more sound."""

    def message(self, seq: int) -> f.NewMessage: ...

    def call(self, key: CallKey) -> f.RequestedCall: ...

    def output(self, seq: int) -> Output: ...

    def usage(self, number: int) -> f.ModelCall:
        """Without its context, which a row of it does not say."""
        ...

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


def packed(facts: Iterable[f.Fact], usage: int = 0) -> str:
    """Facts of one commit as a JSON array, in order. `usage`: the number of the first usage row they bring."""
    texts = []
    for fact in facts:
        kind = type(fact)
        texts.append(_PACK[kind](fact, usage))
        usage += _SPENDS[kind](fact) if kind in _SPENDS else 0
    return f"[{','.join(texts)}]"


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


def _spent(call: f.ModelCall, number: int) -> str:
    """Which usage row has it; how full the context was is in none."""
    context = call.context
    more = "" if context is None else f',"context":[{context.tokens},{context.window}]'
    return f'"usage":{number}{more}'


def _all_spent(calls: Sequence[f.ModelCall], number: int) -> str:
    """From which usage row on, and how many."""
    contexts = [None if call.context is None else [call.context.tokens, call.context.window] for call in calls]
    more = f',"contexts":{_encode(contexts)}' if any(contexts) else ""
    return f'"usage":[{number},{len(calls)}]{more}'


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


def _requested(fact: f.CallsRequested) -> str:
    """How many calls, where they are those of its message in their order."""
    seq = fact.message.seq
    keys = [call.key for call in fact.calls]
    return f"{len(keys)}" if keys == [(seq, n) for n in range(len(keys))] else _keys(keys)


def _ended(status: str, stop_reason: str) -> str:
    """How an answer ended its turn, unless as nearly all do."""
    status = "" if status == Status.COMPLETED else f',"status":{_text(status)}'
    return status if stop_reason == STOP else f'{status},"stop_reason":{_text(stop_reason)}'


def _settled(fact: f.CallSettled) -> str:
    key, by, seq = fact.key, fact.settled_by, _message(fact.message)
    more = "" if by is SettledBy.RUN else f',"settled_by":"{by}"'
    if seq != f"{key.seq + 1 + key.ordinal}":
        more += f',"message":{seq}'
    if fact.output is not None:
        more += ',"output":true'
    return f'"key":[{key.seq},{key.ordinal}],"state":"{fact.state}"{more}'


def _began(fact: f.TurnBegan) -> str:
    more = "" if fact.origin == fact.turn else f',"origin":{fact.origin}'
    if fact.request_id is not None:
        more += f',"request_id":{_text(fact.request_id)}'
    if fact.open_calls:
        more += f',"open_calls":{_keys([call.key for call in fact.open_calls])}'
    return f'"messages":{_messages(fact.input)}{more}'


_SPENDS: Final[Mapping[type[f.Fact], Callable[[Any], int]]] = {
    **dict.fromkeys(
        (f.AnswerReceived, f.CallsRequested, f.AnswerDropped, f.AnswerContinued, f.ContextOverflowed), lambda a: 1
    ),
    f.HistoryCompacted: lambda a: len(a.model_calls),
    f.CompactionFailed: lambda a: len(a.model_calls),
}
"""How many usage rows a fact brings, of those that bring any."""

# Written by hand, not by an encoder: each of these is a part of every turn, between BEGIN and COMMIT.
_PACK: Final[Mapping[type[f.Fact], Callable[[Any, int], str]]] = {
    f.TurnBegan: lambda a, n: _say(a, _began(a)),
    f.InputSteered: lambda a, n: _say(a, f'"messages":{_messages(a.messages)}'),
    f.AnswerReceived: lambda a, n: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},{_spent(a.model_call, n)}{_ended(a.status, a.stop_reason)}',
    ),
    f.CallsRequested: lambda a, n: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},{_spent(a.model_call, n)},"calls":{_requested(a)}',
    ),
    f.AnswerDropped: lambda a, n: _say(a, _spent(a.model_call, n)),
    f.AnswerContinued: lambda a, n: _say(
        a,
        f'"round":{a.round},"message":{_message(a.message)},{_spent(a.model_call, n)},'
        f'"note":{_message(a.note)},"by":{_text(a.by)}',
    ),
    f.Noted: lambda a, n: _say(a, f'"message":{_message(a.message)},"by":{_text(a.by)}'),
    f.TurnCompleted: lambda a, n: _say(a, f'"answer_seq":{a.answer_seq},"stop_reason":{_text(a.stop_reason)}'),
    f.ApprovalsRequested: lambda a, n: _say(a, f'"calls":{_keys([wait.key for wait in a.calls])}'),
    f.ResultsAwaited: lambda a, n: _say(a, f'"calls":{_keys([wait.key for wait in a.calls])}'),
    # What a rule remembered is written over by what it remembers next: it stands nowhere else.
    f.RulesRemembered: lambda a, n: _say(a, f'"memories":{_encode([[one.name, one.memory] for one in a.memories])}'),
    f.CallsStarted: lambda a, n: _say(a, f'"calls":{_keys(a.calls)}'),
    f.CallSettled: lambda a, n: _say(a, _settled(a)),
    f.RoundClosed: lambda a, n: _say(a, f'"round":{a.round}'),
    f.HistoryCompacted: lambda a, n: _say(
        a,
        f'"folded":{_encode(_runs(a.folded))},"notes":{_messages(a.notes)},"strategy":{_text(a.strategy)},'
        f'"before_tokens":{a.before_tokens},"after_tokens":{a.after_tokens},"window":{a.window},'
        f'"model":{_maybe(a.model)},{_all_spent(a.model_calls, n)}',
    ),
    f.CompactionFailed: lambda a, n: _say(
        a,
        f'"strategy":{_text(a.strategy)},"reason":{_text(a.reason)},{_all_spent(a.model_calls, n)}',
    ),
    f.CompactionUndone: lambda a, n: _say(a, f'"compaction":{a.compaction}'),
    f.ContextOverflowed: lambda a, n: _say(
        a,
        f'"limit":{_encode(a.limit)},"requested":{_encode(a.requested)},{_spent(a.model_call, n)}',
    ),
    f.TurnParked: lambda a, n: _say(a, f'"status":{_text(a.status)},"stop_reason":{_text(a.stop_reason)}'),
    # What became of the turn later may have taken the place of its error.
    f.TurnFailed: lambda a, n: _say(a, f'"error_code":{_text(a.error_code)},"error":{_text(a.error)}'),
    f.TurnCancelled: lambda a, n: _say(a, f'"status":{_text(a.status)},"stop_reason":{_text(a.stop_reason)}'),
    f.TurnInterrupted: lambda a, n: _say(a, f'"stop_reason":{_text(a.stop_reason)}'),
    f.SessionQuarantined: lambda a, n: _say(a, f'"recoveries":{a.recoveries}'),
    f.ApprovalDecided: lambda a, n: _say(a, f'"key":[{a.key.seq},{a.key.ordinal}],"decision":{_text(a.decision)}'),
    f.CallsAborted: lambda a, n: _say(a, f'"calls":{_keys(a.calls)},"reason":{_text(a.reason)}'),
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


def _call(said: Packed, rows: Beside) -> f.ModelCall:
    return _in_context(rows.usage(said["usage"]), said.get("context"))


def _calls(said: Packed, rows: Beside) -> tuple[f.ModelCall, ...]:
    first, count = said["usage"]
    contexts = said.get("contexts") or [None] * count
    return tuple([_in_context(rows.usage(first + n), contexts[n]) for n in range(count)])


def _in_context(call: f.ModelCall, context: Sequence[int] | None) -> f.ModelCall:
    return call if context is None else replace(call, context=f.Context(tokens=context[0], window=context[1]))


def _asked(said: int | Sequence[Sequence[int]], message: f.NewMessage, rows: Beside) -> tuple[f.RequestedCall, ...]:
    keys = [CallKey(message.seq, n) for n in range(said)] if isinstance(said, int) else _keys_of(said)
    return tuple([rows.call(key) for key in keys])


def _call_settled(stamp: f.Stamp, part: Packed, rows: Beside) -> f.Fact:
    key = CallKey(*part["key"])
    message = _at(part.get("message", key.seq + 1 + key.ordinal), rows)
    return f.CallSettled(
        **stamp,
        key=key,
        state=CallState(part["state"]),
        settled_by=SettledBy(part.get("settled_by", SettledBy.RUN)),
        message=message,
        output=rows.output(message.seq) if part.get("output") else None,
    )


def _decided(stamp: f.Stamp, part: Packed, rows: Beside) -> f.Fact:
    key = CallKey(*part["key"])
    said = rows.decision(key)
    return f.ApprovalDecided(
        **stamp, key=key, decision=part["decision"], by=said.decided_by, reason=said.said, arguments=said.changed
    )


_UNPACK: Final[Mapping[str, Callable[[f.Stamp, Packed, Beside], f.Fact]]] = {
    "TurnBegan": lambda stamp, a, rows: f.TurnBegan(
        **stamp,
        origin=a.get("origin", a["turn"]),
        request_id=a.get("request_id"),
        input=_ats(a["messages"], rows),
        open_calls=tuple([rows.call(key) for key in _keys_of(a.get("open_calls", ()))]),
    ),
    "InputSteered": lambda stamp, a, rows: f.InputSteered(**stamp, messages=_ats(a["messages"], rows)),
    "AnswerReceived": lambda stamp, a, rows: f.AnswerReceived(
        **stamp,
        round=a["round"],
        message=_at(a["message"], rows),
        model_call=_call(a, rows),
        status=a.get("status", Status.COMPLETED.value),
        stop_reason=a.get("stop_reason", STOP),
    ),
    "CallsRequested": lambda stamp, a, rows: f.CallsRequested(
        **stamp,
        round=a["round"],
        message=(message := _at(a["message"], rows)),
        model_call=_call(a, rows),
        calls=_asked(a["calls"], message, rows),
    ),
    "AnswerDropped": lambda stamp, a, rows: f.AnswerDropped(**stamp, model_call=_call(a, rows)),
    "AnswerContinued": lambda stamp, a, rows: f.AnswerContinued(
        **stamp,
        round=a["round"],
        message=_at(a["message"], rows),
        model_call=_call(a, rows),
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
    "CallSettled": _call_settled,
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
        model_calls=_calls(a, rows),
    ),
    "CompactionFailed": lambda stamp, a, rows: f.CompactionFailed(
        **stamp, strategy=a["strategy"], reason=a["reason"], model_calls=_calls(a, rows)
    ),
    "CompactionUndone": lambda stamp, a, rows: f.CompactionUndone(**stamp, compaction=a["compaction"]),
    "ContextOverflowed": lambda stamp, a, rows: f.ContextOverflowed(
        **stamp, limit=a["limit"], requested=a["requested"], model_call=_call(a, rows)
    ),
    "TurnParked": lambda stamp, a, rows: f.TurnParked(**stamp, status=a["status"], stop_reason=a["stop_reason"]),
    "TurnFailed": lambda stamp, a, rows: f.TurnFailed(**stamp, error_code=a["error_code"], error=a["error"]),
    "TurnCancelled": lambda stamp, a, rows: f.TurnCancelled(**stamp, status=a["status"], stop_reason=a["stop_reason"]),
    "TurnInterrupted": lambda stamp, a, rows: f.TurnInterrupted(**stamp, stop_reason=a["stop_reason"]),
    "SessionQuarantined": lambda stamp, a, rows: f.SessionQuarantined(**stamp, recoveries=a["recoveries"]),
    "ApprovalDecided": _decided,
    "CallsAborted": lambda stamp, a, rows: f.CallsAborted(**stamp, calls=_keys_of(a["calls"]), reason=a["reason"]),
}
