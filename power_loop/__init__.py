"""power-loop: an agent session that survives anything.

`StatefulAgentLoop` is what an app calls, `tool` makes its functions callable by a model, everything raised is a
`PowerLoopError` with a stable `code`. ARCHITECTURE.md shows how the folders hang together.

Importing this package imports nothing else: a name comes with the module it lives in, when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llm_client import LLMService, OpenAIChatService, ScriptedLLM, Usage
    from power_loop.config import AgentLoopConfig
    from power_loop.engine.calls import CallState, OpenCall
    from power_loop.engine.turns import SessionState, TurnState
    from power_loop.errors import (
        ApprovalChangedError,
        ApprovalDecidedError,
        ApprovalExpiredError,
        CallNotFoundError,
        CallSettledError,
        ConfigError,
        ContextOverflowError,
        EpochLostError,
        EventsLaggedError,
        InputInvalidError,
        LoopClosedError,
        ModelError,
        NotConfiguredError,
        OutputInvalidError,
        PowerLoopError,
        SessionBusyError,
        SessionExistsError,
        SessionNotFoundError,
        SessionPendingError,
        SessionQuarantinedError,
        StoreBusyError,
        StoreDamagedError,
        StoreError,
        StoreSchemaError,
        ToolChangedError,
        ToolDefinitionError,
    )
    from power_loop.events import SessionEvent
    from power_loop.hooks import Hooks
    from power_loop.sink import (
        JsonlSink,
        LoggingSink,
        MessageSink,
        NullSink,
        OpenTelemetrySink,
        SinkLimits,
        StoreSink,
        TeeSink,
    )
    from power_loop.stateful_loop import Recovered, StatefulAgentLoop, StatefulResult
    from power_loop.store import SessionStore, open_store
    from power_loop.store.records import QueuedInput, SessionInfo, StoredMessage, WaitInfo
    from power_loop.tools import Done, NotDone, Tool, ToolContext, ToolRegistry, Unknown, ask_human, complete_tool, tool
    from power_loop.values import Effect, InDoubt, Status, World

__version__ = "0.1.0"

_HOMES: Final = {
    "llm_client": "LLMService OpenAIChatService ScriptedLLM Usage",
    "power_loop.config": "AgentLoopConfig",
    "power_loop.engine.calls": "CallState OpenCall",
    "power_loop.engine.turns": "SessionState TurnState",
    "power_loop.errors": (
        "ApprovalChangedError ApprovalDecidedError ApprovalExpiredError CallNotFoundError CallSettledError ConfigError "
        "ContextOverflowError EpochLostError EventsLaggedError InputInvalidError "
        "LoopClosedError ModelError NotConfiguredError OutputInvalidError PowerLoopError SessionBusyError "
        "SessionExistsError SessionNotFoundError SessionPendingError SessionQuarantinedError StoreBusyError "
        "StoreDamagedError StoreError StoreSchemaError ToolChangedError ToolDefinitionError"
    ),
    "power_loop.events": "SessionEvent",
    "power_loop.hooks": "Hooks",
    "power_loop.sink": "JsonlSink LoggingSink MessageSink NullSink OpenTelemetrySink SinkLimits StoreSink TeeSink",
    "power_loop.stateful_loop": "Recovered StatefulAgentLoop StatefulResult",
    "power_loop.store": "SessionStore open_store",
    "power_loop.store.records": "QueuedInput SessionInfo StoredMessage WaitInfo",
    "power_loop.tools": "Done NotDone Tool ToolContext ToolRegistry Unknown ask_human complete_tool tool",
    "power_loop.values": "Effect InDoubt Status World",
}
"""Where each public name lives."""

_PLACES: Final = {name: home for home, names in _HOMES.items() for name in names.split()}


_PARTS: Final = (
    *("compaction", "config", "engine", "errors", "events", "loop", "shielding", "sink", "stateful_loop", "store"),
    *("hooks", "tools", "transcript", "values"),
)
"""What stands below the facade; `power_loop.errors` needs no import of its own."""


def __getattr__(name: str) -> object:
    home = _PLACES.get(name)
    if home is not None:
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AgentLoopConfig",
    "ApprovalChangedError",
    "ApprovalDecidedError",
    "ApprovalExpiredError",
    "CallNotFoundError",
    "CallSettledError",
    "CallState",
    "ConfigError",
    "ContextOverflowError",
    "Done",
    "Effect",
    "EpochLostError",
    "EventsLaggedError",
    "Hooks",
    "InDoubt",
    "InputInvalidError",
    "JsonlSink",
    "LLMService",
    "LoggingSink",
    "LoopClosedError",
    "MessageSink",
    "ModelError",
    "NotConfiguredError",
    "NotDone",
    "NullSink",
    "OpenAIChatService",
    "OpenCall",
    "OpenTelemetrySink",
    "OutputInvalidError",
    "PowerLoopError",
    "QueuedInput",
    "Recovered",
    "ScriptedLLM",
    "SessionBusyError",
    "SessionEvent",
    "SessionExistsError",
    "SessionInfo",
    "SessionNotFoundError",
    "SessionPendingError",
    "SessionQuarantinedError",
    "SessionState",
    "SessionStore",
    "SinkLimits",
    "StatefulAgentLoop",
    "StatefulResult",
    "Status",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "StoreSchemaError",
    "StoreSink",
    "StoredMessage",
    "TeeSink",
    "Tool",
    "ToolChangedError",
    "ToolContext",
    "ToolDefinitionError",
    "ToolRegistry",
    "TurnState",
    "Unknown",
    "Usage",
    "WaitInfo",
    "World",
    "ask_human",
    "complete_tool",
    "open_store",
    "tool",
]
