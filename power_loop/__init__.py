"""power-loop: an agent session that survives anything.

`StatefulAgentLoop` is what an app calls, `tool` makes its functions callable by a model, everything raised is a
`PowerLoopError` with a stable `code`. ARCHITECTURE.md shows how the folders hang together.
"""

from llm_client import LLMService, OpenAIChatService, ScriptedLLM, Usage
from power_loop.config import AgentLoopConfig
from power_loop.engine.calls import CallState, OpenCall
from power_loop.engine.turns import SessionState, TurnState
from power_loop.errors import (
    CallNotFoundError,
    ConfigError,
    ContextOverflowError,
    EpochLostError,
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
from power_loop.sink import JsonlSink, MessageSink, NullSink, StoreSink, TeeSink
from power_loop.stateful_loop import Recovered, StatefulAgentLoop, StatefulResult
from power_loop.store import SessionStore, open_store
from power_loop.store.records import QueuedInput, SessionInfo, StoredMessage
from power_loop.tools import Done, NotDone, Tool, ToolContext, ToolRegistry, Unknown, tool
from power_loop.values import Effect, InDoubt, Status, World

__version__ = "0.1.0"

__all__ = [
    "AgentLoopConfig",
    "CallNotFoundError",
    "CallState",
    "ConfigError",
    "ContextOverflowError",
    "Done",
    "Effect",
    "EpochLostError",
    "InDoubt",
    "InputInvalidError",
    "JsonlSink",
    "LLMService",
    "LoopClosedError",
    "MessageSink",
    "ModelError",
    "NotConfiguredError",
    "NotDone",
    "NullSink",
    "OpenAIChatService",
    "OpenCall",
    "OutputInvalidError",
    "PowerLoopError",
    "QueuedInput",
    "Recovered",
    "ScriptedLLM",
    "SessionBusyError",
    "SessionExistsError",
    "SessionInfo",
    "SessionNotFoundError",
    "SessionPendingError",
    "SessionQuarantinedError",
    "SessionState",
    "SessionStore",
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
    "World",
    "open_store",
    "tool",
]
