"""The note a model writes in the place of folded messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llm_client.messages import AssistantMessage, SystemMessage, UserMessage, parse, text_of, wire
from llm_client.service import ChatRequest
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


def summary_request(folded: Sequence[Entry], *, model: str | None, max_chars: int, max_tokens: int) -> ChatRequest:
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
    )


def note(answer: AssistantMessage) -> str | None:
    """The wire text of the note, or None if the answer is none: empty, or calls for tools."""
    text = answer.text.strip()
    if not text or answer.tool_calls:
        return None
    return wire(UserMessage(content=HEADING + text))


def _said(entry: Entry) -> str:
    message = parse(entry.wire)
    text = text_of(message.content)
    if isinstance(message, AssistantMessage):
        calls = [f"(calls {call.name} {call.arguments})" for call in message.tool_calls]
        text = "\n".join([text, *calls] if text else calls)
    if len(text) > MAX_CHARS_A_MESSAGE:
        half = MAX_CHARS_A_MESSAGE // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return f"{message.role}: {text}"
