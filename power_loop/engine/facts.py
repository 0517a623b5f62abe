"""What happened. A fact is one frozen value with three lives: it moves the state table, a sink records it, and it goes
out as the event.

Facts of one `record` call are committed together or not at all. Where a fact holds messages, each has its sequence
number already: the driver owns the session, so it knows what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from llm_client.service import Usage
from power_loop.engine.outputs import Output
from power_loop.values import CallKey, Effect, Micros, SessionId

if TYPE_CHECKING:
    from power_loop.engine.calls import CallState, SettledBy


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message about to be stored. `body` is its wire text, `provider` the JSON of what the endpoint added."""

    seq: int
    role: str
    body: str
    provider: str | None = None
    place: int | None = None
    """Where it stands in the model's view, if not where it was written."""
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedCall:
    """One call an answer asks for, as it enters the ledger."""

    key: CallKey
    id: str
    name: str
    arguments: str
    effect: Effect
    schema_hash: str | None
    """None: no tool of this name is registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How full a session's window is, in tokens."""

    tokens: int
    window: int
    """What the model can take, less the room for its reply."""

    @property
    def left(self) -> float:
        """What remains, in percent of the window; 0 once it is full."""
        return context_left(self.tokens, self.window)


def context_left(tokens: int, window: int) -> float:
    """What remains of a window, in percent, to a tenth."""
    return round(max(0.0, 100 * (1 - tokens / max(1, window))), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One request a model answered, and what it cost."""

    purpose: str
    """`answer`, `dropped` (an empty answer), `summary` (also one that was of no use), or `overflow` (the endpoint
    refused the request as too long: what it counted, and nothing was paid)."""
    model: str
    usage: Usage | None
    milliseconds: int
    cost: float | None = None
    context: Context | None = None
    """How full the window is once this is in it; of an `answer`."""


class Stamp(TypedDict):
    """Which session and turn a fact is of."""

    session: SessionId
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """The turn is the one that was running when it happened."""

    session: SessionId
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBegan(Fact):
    """An input is stored and a turn works on it; or (`origin` < `turn`) an interrupted turn goes on."""

    origin: int
    request_id: str | None
    input: tuple[NewMessage, ...]
    open_calls: tuple[RequestedCall, ...] = ()
    """Calls that an earlier turn left without a result, and this one goes on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSteered(Fact):
    """Input that came while the turn ran is part of it from here on; the store committed it when it was taken in."""

    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReceived(Fact):
    """The model's last word in this turn."""

    round: int
    message: NewMessage
    model_call: ModelCall
    status: str
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsRequested(Fact):
    """An answer that asks for calls; message and ledger rows are one commit."""

    round: int
    message: NewMessage
    model_call: ModelCall
    calls: tuple[RequestedCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDropped(Fact):
    """An answer nobody can use (empty, or a summary that is none): it costs, and it is not stored."""

    model_call: ModelCall


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerContinued(Fact):
    """The model would have ended here, and was not done: its answer stands, and a note says what is missing."""

    round: int
    message: NewMessage
    model_call: ModelCall
    note: NewMessage
    by: str
    """Which rule wrote the note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Fact):
    """A rule of the loop says something to the model, as a user's message, before the next request."""

    message: NewMessage
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted(Fact):
    """A call ended the turn: its arguments are the turn's outcome. `answer_seq`: the message that asks for it."""

    answer_seq: int
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a call waits for somebody outside with."""

    key: CallKey
    arguments: str
    """JSON text of what is to run; an approval is for that and nothing else."""
    reason: str | None = None
    """Why somebody is asked."""
    expires_at: Micros | None = None
    """When nobody's word counts as no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalsRequested(Fact):
    """These calls wait, durably, until a person has said yes or no."""

    calls: tuple[Wait, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsAwaited(Fact):
    """These calls are the host's from here on: no function runs here, and its word is their result."""

    calls: tuple[Wait, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a rule remembers of a session from here on: a JSON text."""

    name: str
    memory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesRemembered(Fact):
    """Watchers have seen a round, or the steps have moved."""

    memories: tuple[Memory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsStarted(Fact):
    """Intent before effect: once this is on disk the functions may be entered."""

    calls: tuple[CallKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettled(Fact):
    """A call has its result; it is never run again."""

    key: CallKey
    state: CallState
    settled_by: SettledBy
    message: NewMessage
    output: Output | None = None
    """The whole text, where the message shows a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundClosed(Fact):
    """Every call of the round is answered."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCompacted(Fact):
    """Messages were folded; one note stands in their place, or for each result a short one."""

    folded: tuple[int, ...]
    notes: tuple[NewMessage, ...]
    strategy: str
    before_tokens: int
    after_tokens: int
    window: int
    model: str | None = None
    """Which model wrote the note; None: none did."""
    model_calls: tuple[ModelCall, ...] = ()
    """What was paid for it, of use or not."""

    @property
    def context(self) -> Context:
        return Context(tokens=self.after_tokens, window=self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionFailed(Fact):
    """Nothing was folded; the turn goes on. The session counts these until a compaction succeeds."""

    strategy: str
    """Of the last one that was tried."""
    reason: str
    model_calls: tuple[ModelCall, ...] = ()
    """What was paid for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionUndone(Fact):
    """The messages of the latest compaction that stood are back in their places, and its notes are out."""

    compaction: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOverflowed(Fact):
    """The endpoint refused a request as too long. What it counted is stored; history is folded and the model asked once
    more."""

    limit: int | None
    """The window, where the endpoint said it."""
    requested: int | None
    """The size of the request, where the endpoint said it."""
    model_call: ModelCall


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParked(Fact):
    """The turn ends with open calls that somebody else decides."""

    status: str
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFailed(Fact):
    """No answer could be had. The input stays; `resume` asks again."""

    error_code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCancelled(Fact):
    """Somebody stopped the turn; calls that were running are in doubt."""

    status: str
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInterrupted(Fact):
    """The owner died; found and written down by the process that came after."""

    stop_reason: str = "owner died"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuarantined(Fact):
    """It was taken up too often without progress; from here on only a person frees it."""

    recoveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided(Fact):
    """Somebody decided about a call, from outside its turn."""

    key: CallKey
    decision: str
    """`approved`, `denied`, or `expired`: nobody said anything in time."""
    by: str | None
    reason: str | None = None
    arguments: str | None = None
    """JSON text of what is to run instead of what was asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsAborted(Fact):
    """Somebody gave the open calls up; each is answered with the reason."""

    calls: tuple[CallKey, ...] = field(default=())
    reason: str
