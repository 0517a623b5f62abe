"""The names of OpenTelemetry's semantic conventions for generative AI, and our own beside them.

From github.com/open-telemetry/semantic-conventions-genai (`gen-ai-spans`, `gen-ai-agent-spans`), status Development:
they still move, and nothing but this file knows them. What they have no word for begins with `power_loop.`.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "power_loop"

INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
AGENT: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOOL: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
CALL_ID: Final = "gen_ai.tool.call.id"
ERROR_TYPE: Final = "error.type"

FUNCTION: Final = "function"
"""A `gen_ai.tool.type`: the app runs it."""

TURN: Final = "power_loop.turn"
ORIGIN: Final = "power_loop.origin"
"""The turn whose input a turn works on; smaller than its own number where it goes on with one that was cut off."""
REQUEST: Final = "power_loop.request_id"
STATUS: Final = "power_loop.status"
STOP_REASON: Final = "power_loop.stop_reason"
PURPOSE: Final = "power_loop.purpose"
COST: Final = "power_loop.cost"
CALL_STATE: Final = "power_loop.call.state"
CALL_KEY: Final = "power_loop.call.key"

END_UNKNOWN: Final = "power_loop.end_unknown"
"""An `error.type`: this process never heard how it ended."""
INTERRUPTED: Final = "power_loop.interrupted"
OVERFLOW: Final = "model.context_overflow"
"""An `error.type`: the code of the error that it would be, had the turn no way to go on."""
IN_DOUBT: Final = "power_loop.in_doubt"
"""An `error.type` of a call whose turn ended while it ran."""


def own(name: str) -> str:
    """A name of ours for what there is no other for: a fact as an event, a field of it as an attribute."""
    return f"power_loop.{name}"
