"""What stands in the way in a session, or in one of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from llm_client.errors import PowerLoopError


class SessionError(PowerLoopError):
    """Something about one session."""

    code = "session.error"

    def __init__(self, session_id: str, message: str) -> None:
        self.session_id = session_id
        super().__init__(message)


class SessionNotFoundError(SessionError):
    code = "session.not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            session_id,
            f"no session {session_id!r} here; list_sessions() shows what there is, create_session() makes one",
        )


class EventsLaggedError(SessionError):
    """Whoever reads its live events left too many unread and was dropped. No fact is lost: begin again at `cursor`."""

    code = "events.lagged"

    def __init__(self, session_id: str, cursor: int) -> None:
        self.cursor = cursor
        super().__init__(
            session_id,
            f"the reader of session {session_id!r} fell too far behind its live events and was dropped; "
            f"events({session_id!r}, after={cursor}) goes on without a gap in the facts",
        )


class SessionAmbiguousError(SessionError):
    """More than one session begins so."""

    code = "session.ambiguous"

    def __init__(self, prefix: str, matches: Sequence[str]) -> None:
        self.matches = tuple(matches)
        super().__init__(
            prefix, f"{prefix!r} begins {len(matches)} or more ids ({', '.join(matches[:3])}); give more of it"
        )


class SessionExistsError(SessionError):
    code = "session.exists"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, f"session {session_id!r} is there already; send to it, or choose another id")


class SessionArchivedError(SessionError):
    code = "session.archived"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            session_id,
            f"session {session_id!r} is archived; archive_session({session_id!r}, archived=False) brings it back",
        )


class SessionClosedError(SessionError):
    code = "session.closed"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            session_id, f"session {session_id!r} was closed for good; it can be read; start a new one to go on"
        )


class PendingCall(Protocol):
    """What an error needs of an open call; `OpenCall` is one."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def since(self) -> datetime: ...


class SessionPendingError(SessionError):
    """The session has open calls of an interrupted turn; nothing was written.

    `calls` says which (id, name, arguments, state, since), `ways_out` what can be done.
    """

    code = "session.pending"

    def __init__(self, session_id: str, calls: Sequence[PendingCall]) -> None:
        self.calls = tuple(calls)
        states = {call.state for call in self.calls}
        decide = f"approve({session_id!r}, call_id) or deny({session_id!r}, call_id) each that awaits an approval"
        answer = f"submit_results({session_id!r}, {{call_id: value}}) for each that waits for input"
        self.ways_out: tuple[str, ...] = (
            *((decide,) if "awaiting_approval" in states else ()),
            *((answer,) if "waiting_for_input" in states else ()),
            f"resume({session_id!r}) to go on",
            f"abort_pending({session_id!r}) to give the calls up",
            'send(..., on_pending="resume") or send(..., on_pending="abort") to do so at once',
        )
        listed = ", ".join(f"{call.name} {call.id} ({call.state})" for call in self.calls)
        super().__init__(
            session_id,
            f"session {session_id!r} has {len(self.calls)} open call(s): {listed}; " + ", or ".join(self.ways_out),
        )


class SessionQuarantinedError(SessionPendingError):
    """Every recovery of the session died; it is not taken up again until a person frees it."""

    code = "session.quarantined"

    def __init__(self, session_id: str, calls: Sequence[PendingCall], recoveries: int) -> None:
        self.calls, self.recoveries = tuple(calls), recoveries
        self.ways_out = (
            f"find out what kills its process, then free_session({session_id!r}) and resume it",
            f"abort_pending({session_id!r}) to give it up",
        )
        listed = ", ".join(f"{call.name} {call.id} ({call.state})" for call in self.calls) or "none"
        SessionError.__init__(
            self,
            session_id,
            f"session {session_id!r} is quarantined: {recoveries} recoveries made no progress; open calls: {listed}; "
            + ", or ".join(self.ways_out),
        )


class SessionBusyError(SessionError):
    """Somebody else drives the session. Raised before anything was written."""

    code = "session.busy"

    def __init__(self, session_id: str, owner: str, since: datetime | None) -> None:
        self.owner, self.since = owner, since
        when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
        super().__init__(
            session_id,
            f"session {session_id!r} is driven by {owner}{when}; "
            f"wait for it, or stop it with request_stop({session_id!r})",
        )


class EpochLostError(SessionError):
    """Another process took the session over; what this one wanted to write was refused. Nothing of it is recorded."""

    code = "session.epoch_lost"

    def __init__(self, session_id: str, ours: int, current: int) -> None:
        self.ours, self.current = ours, current
        super().__init__(
            session_id,
            f"session {session_id!r} was taken over (our epoch {ours}, now {current}); "
            "this turn's late writes are refused; read the session again to see where it stands",
        )


class CallNotFoundError(SessionError):
    code = "call.not_found"

    def __init__(self, session_id: str, call_id: str, open_ids: Sequence[str]) -> None:
        self.call_id, self.open_ids = call_id, tuple(open_ids)
        there = ", ".join(open_ids) if open_ids else "none"
        super().__init__(session_id, f"no call {call_id!r} waits in session {session_id!r}; open calls: {there}")


class CallSettledError(SessionError):
    """The call cannot be decided any more, or not so. Nothing was changed."""

    code = "call.settled"

    def __init__(self, session_id: str, call_id: str, state: str, way_out: str) -> None:
        self.call_id, self.state = call_id, state
        super().__init__(session_id, f"call {call_id!r} of session {session_id!r} is {state}; {way_out}")


class ApprovalDecidedError(SessionError):
    """Somebody decided otherwise about the call before; that stands. Nothing was changed."""

    code = "approval.decided"

    def __init__(self, session_id: str, call_id: str, decision: str, by: str | None) -> None:
        self.call_id, self.decision, self.by = call_id, decision, by
        super().__init__(
            session_id,
            f"call {call_id!r} of session {session_id!r} was {decision} already{'' if by is None else f' by {by}'}; "
            "the first decision stands",
        )


class ApprovalExpiredError(SessionError):
    """Nobody decided in time; the next `resume` denies the call. Nothing was changed."""

    code = "approval.expired"

    def __init__(self, session_id: str, call_id: str, expired_at: datetime) -> None:
        self.call_id, self.expired_at = call_id, expired_at
        super().__init__(
            session_id,
            f"the approval of call {call_id!r} of session {session_id!r} expired at {expired_at:%Y-%m-%d %H:%M:%S} "
            f"UTC; resume({session_id!r}) tells the model so, and it may ask again",
        )


class ApprovalChangedError(SessionError):
    """What whoever decided has seen is not what would run. Nothing was changed."""

    code = "approval.changed"

    def __init__(self, session_id: str, call_id: str, seen: str, current: str) -> None:
        self.call_id, self.seen, self.current = call_id, seen, current
        super().__init__(
            session_id,
            f"call {call_id!r} of session {session_id!r} has the arguments {current}, not {seen}; "
            "look at it again with get_approvals() and decide about what it says",
        )


class ToolChangedError(SessionError):
    """Open calls are of tools that are gone or take other arguments by now, and the policy is to refuse."""

    code = "tool.changed"

    def __init__(self, session_id: str, calls: Sequence[PendingCall], problems: Sequence[str]) -> None:
        self.calls, self.problems = tuple(calls), tuple(problems)
        super().__init__(
            session_id,
            f"session {session_id!r} cannot go on with these tools: {'; '.join(problems)}; register them as they were, "
            f"set tool_drift to report or accept, or abort_pending({session_id!r})",
        )
