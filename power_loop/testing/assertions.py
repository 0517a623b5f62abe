"""Transcripts and ledgers as short texts that a test can state, and what differs where they are not as stated.

    user: pay invoice 7                             pay(amount=120) once succeeded x1
    assistant: On it. -> pay(amount=120)#1          look(what="x") read failed x0 by gate
    tool #1: paid
    assistant: Done.

Calls are numbered as they come, whatever ids the provider gave them. Further lines of a text begin with `    | `. What
nobody sees (control characters, a space at a line's end) is written out: `\\t`, `\\x00`, `\\x20`.

In what is expected `...` stands for any text within a line, and a line of `| ...` for the further lines of a text,
whatever they are. Empty lines and indentation mean nothing.
"""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import pydantic_core

from llm_client.messages import AssistantMessage, Content, Message, TextPart, ToolMessage, parse
from power_loop.engine.calls import OpenCall, SettledBy
from power_loop.store.reads import History
from power_loop.store.records import ActiveMessage, CallInfo, StoredMessage
from power_loop.values import compact_json

Said: TypeAlias = StoredMessage | ActiveMessage | Message | str
Transcript: TypeAlias = Iterable[Said] | History
"""What `get_messages` returns, messages, or their JSON texts, as `ScriptedLLM.requests[0].messages` has them."""
Ledger: TypeAlias = Iterable[CallInfo | OpenCall]
"""What `get_calls` or `get_pending` returns."""

_WORD_OF: Final = frozenset({SettledBy.GATE, SettledBy.RECONCILE, SettledBy.PERSON})
"""Whose word a result is, where its state does not say so."""
_TURNS_TEXT: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MORE: Final = "    |"
_ANY_MORE: Final = f"{_MORE} ..."


def assert_transcript(messages: Transcript, expected: str, *, longest: int | None = None) -> None:
    """Raises `AssertionError` with a diff, unless `transcript_text` of the messages is as expected."""
    __tracebackhide__ = True
    _compare("transcript", transcript_text(messages, longest=longest), expected)


def assert_ledger(calls: Ledger, expected: str, *, longest: int | None = None) -> None:
    """Raises `AssertionError` with a diff, unless `ledger_text` of the calls is as expected."""
    __tracebackhide__ = True
    _compare("ledger", ledger_text(calls, longest=longest), expected)


def transcript_text(messages: Transcript, *, longest: int | None = None) -> str:
    """Messages as text, in the order given; of each text at most `longest` characters.

    A note of a compaction is a `note:`; `(folded)` stands before what it replaced, `(damaged)` before what cannot be
    read.
    """
    given = messages.messages if isinstance(messages, History) else messages
    return "\n".join(_messages(given, longest))


def ledger_text(calls: Ledger, *, longest: int | None = None) -> str:
    """Calls as text, a line each: what was called, its effect, its state, and how often it was started."""
    return "\n".join(_call_line(call, longest) for call in calls)


def _messages(given: Iterable[Said], longest: int | None) -> Iterator[str]:
    numbers: dict[str, int] = {}  # of the latest call of each id: providers use ids again
    count = 0
    for item in given:
        read = item.message if isinstance(item, StoredMessage | ActiveMessage) else item
        message = parse(read) if isinstance(read, str) else read
        who: str = message.role
        text = _shown(message.content, longest)
        if isinstance(message, AssistantMessage):
            if message.refusal is not None:
                text += f"(refuses) {_cut(message.refusal, longest)}"
            asked = []
            for call in message.tool_calls:
                count += 1
                numbers[call.id] = count
                asked.append(f"{_called(call.name, call.arguments, longest)}#{count}")
            if asked:
                text += f"{' ' * bool(text)}-> {', '.join(asked)}"
        elif isinstance(message, ToolMessage):
            who = f"tool #{numbers.get(message.tool_call_id, '?')}"
        first, *more = text.split("\n")
        yield _visible(f"{_standing(item, who)}: {first}" if first else f"{_standing(item, who)}:")
        for line in more:
            yield _visible(f"{_MORE} {line}" if line else _MORE)


def _standing(item: Said, who: str) -> str:
    if isinstance(item, ActiveMessage):
        return "note" if item.note else who
    if not isinstance(item, StoredMessage):
        return who
    who = "note" if item.note else who
    return {"compacted_out": f"(folded) {who}", "damaged": f"(damaged) {who}"}.get(item.state, who)


def _shown(content: Content | None, longest: int | None) -> str:
    """A content as text; parts that are none by their kind."""
    if content is None or isinstance(content, str):
        return _cut(content or "", longest)
    return "".join(_cut(part.text, longest) if isinstance(part, TextPart) else f"<{part.type}>" for part in content)


def _call_line(call: CallInfo | OpenCall, longest: int | None) -> str:
    said = f"{_called(call.name, call.arguments, longest)} {call.effect} {call.state} x{call.attempt}"
    if isinstance(call, CallInfo):
        if call.settled_by in _WORD_OF:
            said += f" by {call.settled_by}"
        if call.decision is not None and call.state.open:
            said += f", to {call.decision}"
    return _visible(said.replace("\n", "\\n"))


def _called(name: str, arguments: str, longest: int | None) -> str:
    """`pay(amount=120)`; what is no JSON object stands there as the model wrote it."""
    try:
        given = pydantic_core.from_json(arguments or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        return f"{name}({_cut(arguments, longest)})"
    return f"{name}({', '.join(f'{key}={_cut(compact_json(value), longest)}' for key, value in given.items())})"


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None or len(text) <= longest else f"{text[:longest]}[+{len(text) - longest}]"


def _visible(line: str) -> str:
    """The line, with what nobody sees written out."""
    shown = "".join(
        repr(character)[1:-1]
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNS_TEXT
        else character
        for character in line
    )
    return f"{shown[:-1]}\\x{ord(shown[-1]):02x}" if shown.endswith((" ", "\xa0")) else shown


def _compare(what: str, actual_text: str, expected_text: str) -> None:
    __tracebackhide__ = True
    actual = actual_text.split("\n") if actual_text else []
    expected = _resolved([_expected(line.strip(" \t")) for line in expected_text.split("\n")], actual)
    if expected == actual:
        return
    pairs = zip([*expected, None], [*actual, None], strict=False)
    at, (wanted, found) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    diff = difflib.unified_diff(expected, actual, "expected", "actual", lineterm="")
    raise AssertionError(
        f"the {what} is not as expected; the first difference is in line {at}:\n"
        f"  expected: {'(nothing more)' if wanted is None else wanted}\n"
        f"  actual:   {'(nothing more)' if found is None else found}\n\n" + "\n".join(diff)
    )


def _expected(line: str) -> str:
    return _visible(f"    {line}" if line.startswith("|") else line)


def _resolved(expected: list[str], actual: list[str]) -> list[str]:
    """The expected lines, each `...` filled in from the next actual line that fits: a diff shows what does not."""
    resolved: list[str] = []
    at = 0
    for line in filter(None, expected):
        if line == _ANY_MORE:
            rest = list(itertools.takewhile(lambda further: further.startswith(_MORE), actual[at:]))
            resolved += rest
            at += len(rest)
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        fitting = next((n for n in range(at, len(actual)) if pattern.fullmatch(actual[n])), None)
        resolved.append(line if fitting is None else actual[fitting])
        at = at if fitting is None else fitting + 1
    return resolved
