"""What a store gives back: frozen values. `parsing` makes them of rows, checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import pydantic_core

from llm_client.messages import AssistantMessage, Content, Message, ToolCall, ToolMessage, parse, text_of
from power_loop.engine.calls import WAITING_FOR_INPUT, CallState, Decision, OpenCall, SettledBy, WaitKind
from power_loop.engine.facts import RequestedCall, context_left
from power_loop.engine.turns import SessionState, TurnState
from power_loop.transcript.recall import handle_of
from power_loop.values import CallKey, Effect, InputMode, SessionId


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A message of a session as it is stored; parsed when somebody looks inside."""

    seq: int
    place: int
    """Where it stands in the model's order: at `seq`, or, for a note, where the messages it replaces began."""
    turn: int
    """The turn that stored it; 0 before any."""
    role: str
    state: str
    """`active`, `compacted_out`, or `damaged` (only where asked for: its text is not what was written)."""
    body: str
    """The wire text: what the model is sent."""
    provider: str | None
    """JSON of what the endpoint added to an answer, or None."""
    pinned: bool
    note: bool
    """It stands in the place of messages that a compaction folded."""
    folded_by: int | None
    created_at: datetime

    @cached_property
    def message(self) -> Message:
        return parse(self.body, self.provider)

    @property
    def content(self) -> Content | None:
        return self.message.content

    @property
    def text(self) -> str:
        return text_of(self.message.content)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.message.tool_calls if isinstance(self.message, AssistantMessage) else ()

    @property
    def tool_call_id(self) -> str | None:
        return self.message.tool_call_id if isinstance(self.message, ToolMessage) else None

    @property
    def handle(self) -> str | None:
        """Of a result that is shown in short: by which `recall_output` reads the whole. None: the whole stands here."""
        return handle_of(self.text, self.seq) if self.role == "tool" and self.state != "damaged" else None

    def as_dict(self) -> dict[str, Any]:
        """The message as the Chat Completions API writes it."""
        body = pydantic_core.from_json(self.body)
        assert isinstance(body, dict)
        return body


class ActiveMessage(NamedTuple):
    """A message that the model sees, with no more of it than a turn needs: a long history is thousands of these."""

    place: int
    seq: int
    role: str
    body: str
    provider: str | None
    pinned: bool
    note: bool

    @property
    def message(self) -> Message:
        return parse(self.body, self.provider)

    @property
    def text(self) -> str:
        return text_of(self.message.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInfo:
    number: int
    origin: int
    """The turn whose input this one works on: itself, unless it goes on from an interrupted one."""
    request_id: str | None
    metadata: dict[str, Any]
    """What the app gave with its input."""
    state: TurnState
    status: str | None
    """None while it runs."""
    stop_reason: str | None
    error_code: str | None
    error: str | None
    rounds: int
    tool_calls: int
    answer_seq: int | None
    epoch: int
    owner: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitInfo:
    """What a call waits for somebody outside with, and what was said."""

    session_id: SessionId
    call_id: str
    name: str
    """Of the tool."""
    key: CallKey
    turn: int
    kind: WaitKind
    arguments: str
    """JSON text of what is to run."""
    arguments_hash: str
    """What an approval is bound to."""
    reason: str | None
    """Why somebody is asked."""
    asked_at: datetime
    expires_at: datetime | None
    decision: Decision | None
    """None: nobody has decided yet."""
    changed: str | None
    """JSON text of the arguments that were approved in their place."""
    said: str | None
    """The reason of whoever decided, or the result."""
    part: str | None
    """What the model is shown of a long result."""
    failed: bool
    """The result is an error."""
    decided_by: str | None
    decided_at: datetime | None

    @property
    def approved(self) -> str | None:
        """The arguments that may run; None unless it was approved."""
        if self.decision is not Decision.APPROVED:
            return None
        return self.arguments if self.changed is None else self.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """A call of any state, as the ledger has it."""

    key: CallKey
    turn: int
    id: str
    name: str
    arguments: str
    arguments_hash: str
    schema_hash: str | None
    effect: Effect
    state: CallState
    settled_by: SettledBy | None
    decision: str | None
    attempt: int
    epoch: int
    idempotency_key: str
    """What its tool was given to hand on; the same for every attempt."""
    requested_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    result_seq: int | None
    approval: WaitInfo | None = None
    """What a person was asked about it. Of open calls only."""
    awaited: WaitInfo | None = None
    """Of a call whose result the host gives, once it was asked. Of open calls only."""

    @property
    def requested(self) -> RequestedCall:
        """The call as the answer asked for it."""
        return RequestedCall(
            key=self.key,
            id=self.id,
            name=self.name,
            arguments=self.arguments,
            effect=self.effect,
            schema_hash=self.schema_hash,
        )

    @property
    def host(self) -> bool:
        """Its result is the host's to give."""
        return self.awaited is not None

    @property
    def decided(self) -> bool:
        """Somebody outside has spoken, and it is yet to be taken up."""
        waiting = self.awaited or (self.approval if self.state is CallState.AWAITING_APPROVAL else None)
        return waiting is not None and waiting.decision is not None

    def shown_open(self, *, driven: bool) -> OpenCall:
        """As an open call for people; `started` without a driver is in doubt."""
        in_doubt = self.state is CallState.STARTED and not driven
        state = "in_doubt" if in_doubt else str(self.state)
        decision = None if self.approval is None else self.approval.decision
        if self.awaited is not None:
            state, decision = WAITING_FOR_INPUT, self.awaited.decision
        return OpenCall(
            id=self.id,
            name=self.name,
            arguments=self.arguments,
            state=state,
            since=self.started_at or self.requested_at,
            effect=self.effect,
            attempt=self.attempt,
            turn=self.turn,
            key=self.key,
            idempotency_key=self.idempotency_key,
            decision=self.decision or decision,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageInfo:
    """One model call. Token counts are None where the endpoint reported none, `cost` where no price is known."""

    number: int
    turn: int
    purpose: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost: float | None
    milliseconds: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionInfo:
    """One compaction: which messages went, and what stands for them. Sizes in tokens, as far as they were known."""

    number: int
    turn: int
    """The turn it happened in, or after; 0 before any."""
    strategy: str
    first_seq: int
    last_seq: int
    folded: int
    """How many messages; between the first and the last others may have stayed."""
    note_seq: int
    notes: int
    """How many messages stand in their place, numbered from `note_seq`: one note, or a short text for each result."""
    before_tokens: int
    after_tokens: int
    model: str | None
    """Which model wrote the note; None: none did."""
    at: datetime
    undone_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedInput:
    """Input that came while a turn ran and waits to be taken in."""

    number: int
    """The order of arrival."""
    mode: InputMode
    request_id: str | None
    metadata: dict[str, Any]
    body: str
    """The wire text of the message."""
    pinned: bool
    """It is never to be folded."""
    sender: str
    """The process that sent it, and waits for its outcome if it lives."""
    arrived_at: datetime

    @property
    def text(self) -> str:
        return text_of(parse(self.body, None).content)


class SessionRow(NamedTuple):
    """A session as its row has it; `SessionInfo` adds what depends on who is alive."""

    key: int
    id: SessionId
    parent: int | None
    model: str | None
    metadata: str | None
    created_at: datetime
    updated_at: datetime
    epoch: int
    owner: str | None
    owner_since: datetime | None
    next_seq: int
    next_turn: int
    active: int
    usage_rows: int
    stop_requested: bool
    archived: bool
    closed: bool
    recoveries: int
    quarantined: bool
    context_tokens: int | None
    context_window: int | None
    failed_compactions: int
    events: int
    approvals: str | None
    """JSON: which tools ask for an approval here."""
    waits: int
    """How often a call has waited for somebody outside."""
    rules: int
    """How many rules remember something."""

    @property
    def context_left(self) -> float | None:
        return _context_left(self.context_tokens, self.context_window)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session at a glance."""

    session_id: SessionId
    state: SessionState
    status: str | None
    """How its last turn ended; None before the first and while one runs."""
    stop_reason: str | None
    error: str | None
    pending: tuple[OpenCall, ...]
    owner: str | None
    """Who drives it now, if that process lives."""
    owner_since: datetime | None
    turns: int
    messages: int
    active_messages: int
    queued: int
    """Inputs that wait to be taken in."""
    recoveries: int
    """How often it was taken up again without progress since."""
    context_tokens: int | None
    """Tokens in the model's context when somebody last counted; None: nobody has."""
    context_window: int | None
    """How many there may be."""
    failed_compactions: int
    """How many compactions failed since the last that did not."""
    parent: str | None
    model: str | None
    metadata: dict[str, Any]
    archived: bool
    closed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def context_left(self) -> float | None:
        """What remains of the context, in percent; None where nobody has counted."""
        return _context_left(self.context_tokens, self.context_window)

    @property
    def needs_attention(self) -> bool:
        """Somebody has to resume, abort, decide or look."""
        return self.state not in (SessionState.IDLE, SessionState.RUNNING, SessionState.STOPPED) or bool(
            (self.pending or self.queued) and self.state is not SessionState.RUNNING
        )


def _context_left(tokens: int | None, window: int | None) -> float | None:
    return None if tokens is None or window is None else context_left(tokens, window)
