"""What does not fit a window, and what cannot be folded, unfolded or recalled."""

from __future__ import annotations

from llm_client.errors import ContextOverflowError, PowerLoopError
from power_loop.errors.sessions import SessionError


class WindowTooSmallError(ContextOverflowError):
    """What must stay in the context (system prompt, pinned messages, the current input, tools) is larger than the
    window, whatever is folded. The input, if it was stored, stays."""

    code = "context.window_too_small"

    def __init__(self, needed: int, window: int) -> None:
        self.needed = needed
        """Tokens, as far as they can be estimated."""
        self.window = window
        """What the model can take, less the room for its reply."""
        self.over = needed - window
        super().__init__(
            f"the window of {window:,} tokens cannot hold what must stay in it, about {needed:,}: "
            f"{self.over:,} too many; "
            "shorten the system prompt, pinned messages, the input or the descriptions of tools, or set a larger "
            "context_window",
            limit=window,
            requested=needed,
        )

    def __reduce__(self) -> tuple[type[WindowTooSmallError], tuple[int, int]]:
        return type(self), (self.needed, self.window)


class CompactionError(PowerLoopError):
    """A compaction that was asked for could not be made; history is as it was. `resume` and `send` are not affected."""

    code = "compaction.failed"

    def __init__(self, session_id: str, reason: str) -> None:
        self.session_id, self.reason = session_id, reason
        super().__init__(f"session {session_id} was not compacted: {reason}; its history is as it was")


class CompactionNotFoundError(SessionError):
    """There is no compaction left to undo. Nothing was changed."""

    code = "compaction.not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, f"no compaction of session {session_id!r} stands; there is nothing to undo")


class OutputNotFoundError(SessionError):
    """No result is kept under a handle, or it belongs to a session of another tree. Nothing was changed."""

    code = "output.not_found"

    def __init__(self, session_id: str, handle: str) -> None:
        self.handle = handle
        super().__init__(
            session_id,
            f"session {session_id!r} and those of its tree keep no result {handle!r}; "
            "a handle stands in the text of a result that is shown in short",
        )
