"""The provider's rules for a history, as code: every call answered exactly once, directly after its message.

answer with calls  -> one tool result for each of its calls, in any order, and nothing else in between
tool result        -> only there
call ids           -> distinct within one answer
"""

from __future__ import annotations

from collections.abc import Iterable

from llm_client.messages import AssistantMessage, Message, ToolMessage


def violations(history: Iterable[Message]) -> list[str]:
    """What a provider would refuse in a history, in words; empty when it is valid."""
    found: list[str] = []
    awaited: dict[str, int] = {}
    answered: set[str] = set()
    for index, message in enumerate(history):
        if isinstance(message, ToolMessage):
            call_id = message.tool_call_id
            if call_id in awaited:
                answered.add(call_id)
                del awaited[call_id]
            else:
                again = "answers call {} again" if call_id in answered else "answers no call before it ({})"
                found.append(f"message {index} {again.format(call_id)}")
            continue
        found.extend(f"call {call_id} of message {asked} has no result" for call_id, asked in awaited.items())
        awaited, answered = {}, set()
        if isinstance(message, AssistantMessage):
            for call in message.tool_calls:
                if not call.id or call.id in awaited:
                    found.append(
                        f"message {index} has two calls {call.id!r}"
                        if call.id
                        else f"message {index} has a call without id"
                    )
                awaited[call.id] = index
    found.extend(f"call {call_id} of message {asked} has no result" for call_id, asked in awaited.items())
    return found
