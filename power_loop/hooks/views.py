"""What hooks are shown, one class a point. Frozen: a guard changes something by its verdict only."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from llm_client.service import ChatRequest, Json, Usage
from power_loop.engine.calls import CallState
from power_loop.values import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where in which session it happens."""

    session_id: str
    turn: int
    round: int
    """Of the input the turn works on, counting from 1 over resumes; 0 before the first."""


class _Argued:
    """Something with the arguments of a call."""

    __slots__ = ()
    arguments: str

    @property
    def values(self) -> Mapping[str, Json]:
        """The arguments by name; a fresh copy. None at all where the text is no JSON object: no such call ever runs."""
        try:
            value = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall(_Argued):
    """A call as an answer asks for it. Nothing of it is checked yet: the tool may not exist."""

    name: str
    arguments: str
    """The JSON text as the model wrote it, valid or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCall(AskedCall):
    """A call in the ledger."""

    call_id: str
    attempt: int
    """Which run of it this is or would be: 1 the first, more after a crash or a retry."""
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCall(BatchCall):
    state: CallState
    result: str
    """Its text before it is shown in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStart(View):
    inputs: tuple[str, ...]
    """The texts of the input that the turn works on, more than one where some came while it ran."""
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRecall(View):
    text: str
    """Of the input."""
    recalled: str = ""
    """What guards before this one recalled; `ReplaceText` puts its text here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStart(View):
    """Nothing but where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest(View):
    request: ChatRequest
    """What the model is about to be asked. Messages and tools are JSON texts; `extra` is a copy, read only."""

    def __post_init__(self) -> None:
        if self.request.extra:
            extra = MappingProxyType(copy.deepcopy(dict(self.request.extra)))
            object.__setattr__(self, "request", replace(self.request, extra=extra))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer(View):
    text: str
    calls: tuple[AskedCall, ...]
    usage: Usage | None
    retries: int = 0
    """How often guards had this round's answer thrown away before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStart(View):
    calls: tuple[BatchCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call(View, _Argued):
    call_id: str
    name: str
    arguments: str
    """The JSON text: as the model wrote it, or as guards before this one replaced it."""
    attempt: int
    """Which run of it this is: 1 the first, more after a crash or a retry."""
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStart(_Call):
    """A call of a tool that is there and takes these arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd(_Call):
    state: CallState
    result: str
    """Its text before it is shown in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallError(_Call):
    state: CallState
    """`failed` or `timed_out`."""
    error: str
    """What would be its result."""
    retries: int = 0
    """How often guards had this call run again before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnd(View):
    calls: tuple[EndedCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnd(View):
    """Nothing but where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionStart(View):
    tokens: int
    """In the context now."""
    window: int
    """What the model can take, less the room for its reply."""
    full: bool
    """The next request may not fit: without a compaction the turn may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionEnd(View):
    strategy: str
    folded: int
    """How many messages went."""
    before_tokens: int
    after_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAppend(View):
    role: str
    """`user` (an input or a note), `assistant` or `tool`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnd(View):
    """`round` is the number of rounds it took."""

    text: str
    """The model's last word."""
    retries: int = 0
    """How often guards had this turn go on before."""
