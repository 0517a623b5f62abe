"""Exit codes, which scripts may rely on, and errors in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from power_loop.cli.told import DB_VARIABLE, Told
from power_loop.errors import (
    ApprovalChangedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CompactionNotFoundError,
    PowerLoopError,
    SessionAmbiguousError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    SessionPendingError,
    SessionQuarantinedError,
    StoreError,
)


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    """Something that has no code of its own here; a fault of ours."""
    USAGE = 2
    """An option, an argument, a tool or a setting cannot work."""
    NOT_FOUND = 3
    """No such session, call or result, or several begin so."""
    WAITS = 4
    """The session does not take this now: calls are open, it is archived or closed, the call is settled."""
    BUSY = 5
    """Somebody else has it; the same command may work later."""
    STORE = 6
    """The database cannot be opened, read or written."""
    MODEL = 7
    """The model gave no answer, or its settings are missing."""
    UNWELL = 8
    """`doctor` found something bad."""
    INTERRUPTED = 130
    """Ctrl-C. What was going on can be resumed."""


_EXACT: Final[Mapping[str, Exit]] = {
    "session.not_found": Exit.NOT_FOUND,
    "session.ambiguous": Exit.NOT_FOUND,
    "call.not_found": Exit.NOT_FOUND,
    "output.not_found": Exit.NOT_FOUND,
    "session.pending": Exit.WAITS,
    "session.quarantined": Exit.WAITS,
    "tool.changed": Exit.WAITS,
    "session.archived": Exit.WAITS,
    "session.closed": Exit.WAITS,
    "session.exists": Exit.WAITS,
    "call.settled": Exit.WAITS,
    "compaction.not_found": Exit.NOT_FOUND,
    "session.busy": Exit.BUSY,
    "session.epoch_lost": Exit.BUSY,
    "events.lagged": Exit.BUSY,
    "store.busy": Exit.BUSY,
    "usage": Exit.USAGE,
    "interrupted": Exit.INTERRUPTED,
}
_FAMILY: Final[Mapping[str, Exit]] = {
    "store": Exit.STORE,
    "model": Exit.MODEL,
    "compaction": Exit.MODEL,
    "context": Exit.MODEL,
    "approval": Exit.WAITS,
    "input": Exit.USAGE,
    "config": Exit.USAGE,
    "tool": Exit.USAGE,
}


class CommandEnded(Exception):  # noqa: N818 - not every end is an error
    """A command ends with a word and an exit code of its own, which is not the library's."""

    code = "failed"


class Interrupted(CommandEnded):
    """Ctrl-C, with how to go on."""

    code = "interrupted"


_WORDS: Final = {"awaiting_approval": ("approve", "deny"), "waiting_for_input": ("answer",)}
"""The commands that decide about a call which waits for somebody outside."""


def exit_code(code: str) -> Exit:
    """The exit code for an error's code."""
    return _EXACT.get(code) or _FAMILY.get(code.partition(".")[0], Exit.FAILED)


def said(error: PowerLoopError, told: Told) -> str:
    """What went wrong and what to do about it, in commands where the library speaks of its methods."""
    match error:
        case SessionNotFoundError():
            return f"no session begins with {error.session_id!r} in {told.path}; `{told.line('sessions')}` lists them"
        case SessionAmbiguousError():
            return f"{error.session_id!r} begins several ids ({', '.join(error.matches)}); give more of it"
        case SessionQuarantinedError():
            ways = " or ".join(f"`{told.line(verb, error.session_id)}`" for verb in ("free", "abort"))
            return (
                f"session {error.session_id!r} is quarantined: {error.recoveries} recoveries made no progress; "
                f"find out what kills its process, then {ways}"
            )
        case SessionPendingError():
            calls = ", ".join(f"{call.name} {call.id} ({call.state})" for call in error.calls)
            verbs = [verb for call in error.calls for verb in _WORDS.get(call.state, ())]
            lines = [told.line(verb, error.session_id, "CALL") for verb in dict.fromkeys(verbs)]
            lines += [told.line(verb, error.session_id) for verb in ("resume", "abort")]
            ways = " or ".join(f"`{line}`" for line in lines)
            return f"session {error.session_id!r} has {len(error.calls)} open call(s): {calls}; first {ways}"
        case SessionBusyError():
            since = f" since {error.since:%Y-%m-%d %H:%M:%S} UTC" if error.since else ""
            return f"session {error.session_id!r} is driven by {error.owner}{since}; wait for it, or stop that process"
        case SessionArchivedError():
            return f"session {error.session_id!r} is archived; it can be read, and brought back with archive_session()"
        case SessionClosedError():
            return f"session {error.session_id!r} was closed for good; it can be read; start a new one to go on"
        case ApprovalExpiredError():
            at = f"{error.expired_at:%Y-%m-%d %H:%M:%S} UTC"
            way_out = f"`{told.line('resume', error.session_id)}` tells the model so, and it may ask again"
            return f"the approval of call {error.call_id!r} of session {error.session_id!r} expired at {at}; {way_out}"
        case ApprovalChangedError():
            return (
                f"call {error.call_id!r} of session {error.session_id!r} has the arguments {error.current}, not "
                f"{error.seen}; look at it again with `{told.line('approvals', error.session_id)}`"
            )
        case CallNotFoundError():
            there = ", ".join(error.open_ids) or "none"
            return f"no call {error.call_id!r} waits in session {error.session_id!r}; open calls: {there}"
        case CompactionNotFoundError():
            return f"no compaction of session {error.session_id!r} stands: there is nothing to undo"
        case StoreError(code="store.not_found"):
            way_out = f"give --db PATH or set {DB_VARIABLE}, or begin with `power-loop chat`"
            return f"{error.path}: there is no such file; {way_out}"
    return str(error)
