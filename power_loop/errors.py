"""Every error that leaves the API, in one tree, each with a stable `.code` and its facts as fields.

A message names the thing, the rule and the way out. What models raise stands in `llm_client.errors`, under the same
root. Codes are listed in docs/errors.md; a test holds that list and this tree equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from llm_client.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelCapabilityError,
    ModelConnectionError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelServerError,
    ModelSettingsError,
    ModelTimeoutError,
    OutputInvalidError,
    PowerLoopError,
    StreamCutError,
)

__all__ = [
    "CallNotFoundError",
    "CallSettledError",
    "ConfigError",
    "ContextOverflowError",
    "EpochLostError",
    "InputInvalidError",
    "LoopClosedError",
    "ModelAuthError",
    "ModelCapabilityError",
    "ModelConnectionError",
    "ModelError",
    "ModelRateLimitedError",
    "ModelRequestError",
    "ModelServerError",
    "ModelSettingsError",
    "ModelTimeoutError",
    "NotConfiguredError",
    "OutputInvalidError",
    "PowerLoopError",
    "SessionAmbiguousError",
    "SessionArchivedError",
    "SessionBusyError",
    "SessionClosedError",
    "SessionExistsError",
    "SessionNotFoundError",
    "SessionPendingError",
    "SessionQuarantinedError",
    "StateError",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "StoreFullError",
    "StoreOpenError",
    "StoreReadOnlyError",
    "StoreSchemaError",
    "StreamCutError",
    "ToolChangedError",
    "ToolDefinitionError",
]


class InputInvalidError(PowerLoopError):
    """An argument breaks a rule. Raised before anything is written."""

    code = "input.invalid"

    def __init__(self, what: str, problem: str, way_out: str) -> None:
        self.what, self.problem, self.way_out = what, problem, way_out
        super().__init__(f"{what} {problem}: {way_out}")


class ConfigError(PowerLoopError):
    """A configuration cannot work. All that is wrong with it is in one message."""

    code = "config.invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the configuration cannot work: " + "; ".join(problems))


class NotConfiguredError(PowerLoopError):
    """The call needs a part that this loop was built without. Raised before anything is written."""

    code = "config.missing"

    def __init__(self, needs: str, way_out: str) -> None:
        self.needs = needs
        super().__init__(f"this needs {needs}: {way_out}")


class ToolDefinitionError(PowerLoopError):
    """A tool cannot be built or registered as it is."""

    code = "tool.invalid"

    def __init__(self, tool: str, problem: str, way_out: str) -> None:
        self.tool, self.problem, self.way_out = tool, problem, way_out
        super().__init__(f"tool {tool}: {problem}; {way_out}")


class LoopClosedError(PowerLoopError):
    """The loop or its store was closed, or belongs to another event loop or process."""

    code = "loop.closed"


class StateError(PowerLoopError):
    """A move the state table does not have. Nothing was changed; it is a fault of the code, not of the caller."""

    code = "state.illegal"


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
        self.ways_out: tuple[str, ...] = (
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


class StoreError(PowerLoopError):
    """The store could not do it; the state is as before. The database's own error is the `__cause__`."""

    code = "store.error"

    def __init__(self, path: str, problem: str, way_out: str, *, code: str | None = None) -> None:
        self.path, self.problem, self.way_out = path, problem, way_out
        if code is not None:
            self.code = code
        super().__init__(f"{path}: {problem}; {way_out}")


class StoreOpenError(StoreError):
    """The path cannot be opened as a session store: missing, a directory, no permission, empty, somebody else's."""

    code = "store.open"


class StoreBusyError(StoreError):
    """Another program held the write lock for too long."""

    code = "store.busy"


class StoreFullError(StoreError):
    code = "store.full"


class StoreReadOnlyError(StoreError):
    code = "store.read_only"


class StoreSchemaError(StoreError):
    """The file's schema is newer than this code, or not what its migrations say. Nothing was written."""

    code = "store.schema"


class StoreDamagedError(StoreError):
    """What is stored is not what was written. `session_id` and `seq` say where, as far as that is known."""

    code = "store.damaged"

    def __init__(
        self, path: str, problem: str, way_out: str, *, session_id: str | None = None, seq: int | None = None
    ) -> None:
        self.session_id, self.seq = session_id, seq
        super().__init__(path, problem, way_out)
