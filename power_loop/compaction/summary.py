"""The summary: a model writes the note. The strategy, and the request it asks with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pydantic_core

from llm_client.messages import AssistantMessage, SystemMessage, UserMessage, wire
from llm_client.service import ChatRequest, Json
from power_loop.compaction.window import Folding, NotFolded, Unit, Window
from power_loop.transcript.view import Entry

INSTRUCTIONS: Final = (
    "You write the memory of an assistant whose conversation has become too long. Below is the part that will be "
    "folded away. Write a note that lets the assistant go on as if it remembered: every instruction and preference of "
    "the user, decisions and their reasons, facts, names, numbers and paths found, what was done with which outcome "
    "(calls whose outcome is unknown are unknown in your note too), and what is left to do. Leave out pleasantries. "
    "Plain text, no preamble."
)
MAX_CHARS_A_MESSAGE: Final = 8_000

LEAST_TOKENS: Final = 64
"""No summary is asked to be shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Folds all but the newest units into a note that the session's model writes.

    The newest units stay word for word, as many as fit a half of the target; the summary takes a quarter at most.
    """

    name: ClassVar[str] = "summary"

    async def fold(self, window: Window) -> Folding | None:
        units = _all_but_the_newest(window)
        if sum(len(unit.entries) for unit in units if not unit.note) < 2:
            return None
        folded = [entry for unit in units for entry in unit.entries]
        note = await window.summarise(folded, max(LEAST_TOKENS, window.target // 4))
        return Folding(folded=folded, note=note)


def _all_but_the_newest(window: Window) -> Sequence[Unit]:
    room = window.target // 2
    tail = len(window.units)
    while tail > 0:
        room -= window.units[tail - 1].tokens
        if room < 0 and tail < len(window.units):
            break
        tail -= 1
    return [unit for number, unit in enumerate(window.units) if not unit.kept and (number < tail or unit.note)]


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


def summary_text(answer: AssistantMessage) -> str:
    """What a model's answer says as a summary.

    Raises:
        NotFolded: it is none: empty, or it calls tools.
    """
    text = answer.text.strip()
    if not text or answer.tool_calls:
        raise NotFolded("the summary was empty or asked for tools")
    return text


def without_oldest_results(folded: Sequence[Entry], *, characters: int) -> Sequence[Entry]:
    """What is left to sum up in so many characters: the oldest results go first, with their calls, then the oldest
    messages, and last the note on what came before them. One thing is always left: a request cuts it."""
    units: list[list[Entry]] = []
    for entry in folded:
        if entry.role == "tool" and units:
            units[-1].append(entry)
        else:
            units.append([entry])
    sizes = [sum(len(_said(entry)) + 2 for entry in unit) for unit in units]
    left = sum(sizes)
    gone: set[int] = set()
    for number in sorted(range(len(units)), key=lambda number: _dearness(units[number])):
        if left <= characters or len(gone) == len(units) - 1:
            break
        gone.add(number)
        left -= sizes[number]
    return [entry for number, unit in enumerate(units) if number not in gone for entry in unit]


def _dearness(unit: Sequence[Entry]) -> int:
    if len(unit) > 1:
        return 0
    return 2 if unit[0].note else 1


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
