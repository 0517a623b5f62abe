"""The note a model writes in the place of folded messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pydantic_core

from llm_client.messages import AssistantMessage, SystemMessage, UserMessage, wire
from llm_client.service import ChatRequest, Json
from power_loop.transcript.view import Entry

INSTRUCTIONS: Final = (
    "You write the memory of an assistant whose conversation has become too long. Below is the part that will be "
    "folded away. Write a note that lets the assistant go on as if it remembered: every instruction and preference of "
    "the user, decisions and their reasons, facts, names, numbers and paths found, what was done with which outcome "
    "(calls whose outcome is unknown are unknown in your note too), and what is left to do. Leave out pleasantries. "
    "Plain text, no preamble."
)
HEADING: Final = "[Note on the conversation before this point]\n"
MAX_CHARS_A_MESSAGE: Final = 8_000


def summary_request(
    folded: Sequence[Entry], *, model: str | None, max_chars: int, max_tokens: int, extra: Mapping[str, Json]
) -> ChatRequest:
    """A request for the note: bounded in input, without tools."""
    said = [_said(entry) for entry in folded]
    text = "\n\n".join(said)
    if len(text) > max_chars:
        half = max_chars // 2
        text = f"{text[:half]}\n\n[... {len(text) - 2 * half} characters left out ...]\n\n{text[-half:]}"
    return ChatRequest(
        messages=(wire(SystemMessage(content=INSTRUCTIONS)), wire(UserMessage(content=text))),
        model=model,
        max_tokens=max_tokens,
        extra=extra,
    )


def note(answer: AssistantMessage) -> str | None:
    """The wire text of the note, or None if the answer is none: empty, or calls for tools."""
    text = answer.text.strip()
    if not text or answer.tool_calls:
        return None
    return wire(UserMessage(content=HEADING + text))


def _said(entry: Entry) -> str:
    # Not parsed as a message: where an endpoint wants its own words again, they stand in here too.
    message = pydantic_core.from_json(entry.wire)
    content = message.get("content") or message.get("refusal") or ""
    text = content if isinstance(content, str) else "\n".join(map(_part, content))
    calls = [call["function"] for call in message.get("tool_calls", ())]
    lines = [*([text] if text else ()), *(f"(calls {call['name']} {call['arguments']})" for call in calls)]
    text = "\n".join(lines)
    if len(text) > MAX_CHARS_A_MESSAGE:
        half = MAX_CHARS_A_MESSAGE // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return f"{entry.role}: {text}"


def _part(part: Mapping[str, Any]) -> str:
    text: str = part["text"] if part["type"] == "text" else f"({part['type']})"
    return text
