"""Every error that leaves the API, in one tree, each with a stable `.code` and its facts as fields.

A message names the thing, the rule and the way out. What models raise stands in `llm_client.errors`, under the same
root. `use` is about calls and settings, `sessions` and `store` about what their names say, `context` about the window.
Codes are listed in docs/errors.md; a test holds that list and this tree equal. Everything may import from here.
"""

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
from power_loop.errors.context import (
    CompactionError,
    CompactionNotFoundError,
    OutputNotFoundError,
    WindowTooSmallError,
)
from power_loop.errors.sessions import (
    ApprovalChangedError,
    ApprovalDecidedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CallSettledError,
    EpochLostError,
    EventsLaggedError,
    SessionAmbiguousError,
    SessionArchivedError,
    SessionBusyError,
    SessionClosedError,
    SessionError,
    SessionExistsError,
    SessionNotFoundError,
    SessionPendingError,
    SessionQuarantinedError,
    ToolChangedError,
)
from power_loop.errors.store import (
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreReadOnlyError,
    StoreSchemaError,
)
from power_loop.errors.use import (
    ConfigError,
    HookDefinitionError,
    InputInvalidError,
    LoopClosedError,
    NotConfiguredError,
    StateError,
    ToolDefinitionError,
)

__all__ = [
    "ApprovalChangedError",
    "ApprovalDecidedError",
    "ApprovalExpiredError",
    "CallNotFoundError",
    "CallSettledError",
    "CompactionError",
    "CompactionNotFoundError",
    "ConfigError",
    "ContextOverflowError",
    "EpochLostError",
    "EventsLaggedError",
    "HookDefinitionError",
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
    "OutputNotFoundError",
    "PowerLoopError",
    "SessionAmbiguousError",
    "SessionArchivedError",
    "SessionBusyError",
    "SessionClosedError",
    "SessionError",
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
    "WindowTooSmallError",
]

for _name in __all__:  # tracebacks and pickles name the place where users find them, not the file
    _error = globals()[_name]
    if _error.__module__.startswith(f"{__name__}."):
        _error.__module__ = __name__
