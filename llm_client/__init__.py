"""Talks to models; knows nothing of power_loop.

`messages` is what is said, `service` the contract of a model, `openai_chat` the one real implementation, `scripted`
one that answers from a list. Importing this package does not import the openai client: building a service does.
"""

from llm_client.errors import ModelError, PowerLoopError
from llm_client.messages import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from llm_client.openai_chat import OpenAIChatService
from llm_client.scripted import ScriptedLLM
from llm_client.service import Answer, ChatRequest, LLMService, StreamEvent, Usage

__all__ = [
    "Answer",
    "AssistantMessage",
    "ChatRequest",
    "LLMService",
    "Message",
    "ModelError",
    "OpenAIChatService",
    "PowerLoopError",
    "ScriptedLLM",
    "StreamEvent",
    "SystemMessage",
    "ToolCall",
    "ToolMessage",
    "Usage",
    "UserMessage",
]
