"""Facts as lines of a log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Final

from power_loop.engine import facts as f
from power_loop.sink.brief import CallNames, Simple, cut, ends_turn, keys, model_calls, requested, scalars
from power_loop.values import CallKey

LONGEST_LINE: Final = 1_000
"""Characters of a line; with bodies, eight times as many."""

MANY: Final = 10
"""Calls, and messages, that are shown one by one."""


class LoggingSink:
    """Logs one line a fact: `CallSettled session=s turn=1 key=2.0 state=succeeded settled_by=run call=work/call_1`.

    What people, models and tools said is left out (messages, arguments, results), unless `bodies` asks for it. A line
    is one line, whatever is in it, and of at most `LONGEST_LINE` characters. An error's text and the reason of a stop
    are shown. Its logger's handlers run in the event loop: give them a queue where they are slow.
    """

    def __init__(
        self, logger: logging.Logger | None = None, level: int = logging.INFO, *, bodies: bool = False
    ) -> None:
        """`logger`: None is the one named `power_loop.facts`."""
        self._logger = logger or logging.getLogger("power_loop.facts")
        self._level = level
        self._bodies = bodies
        self._longest = LONGEST_LINE * (8 if bodies else 1)
        self._names = CallNames()
        self._closed = False

    async def record(self, facts: Sequence[f.Fact]) -> None:
        for fact in facts:
            self._names.hear(fact)
            if self._logger.isEnabledFor(self._level) and not self._closed:
                self._logger.log(self._level, "%s", self._line(fact))
            if ends_turn(fact):
                self._names.forget(fact.session)

    async def aclose(self) -> None:
        """The logger is the app's."""
        self._closed = True

    def _line(self, fact: f.Fact) -> str:
        told: list[tuple[str, Simple]] = [("session", fact.session), ("turn", fact.turn)]
        told += scalars(fact, spoken=self._bodies, longest=self._longest).items()
        told += _counts(fact)
        told += self._calls(fact)
        for call in model_calls(fact):
            told += _spent(call)
        if self._bodies:
            told += _bodies(fact, self._longest)
        line = " ".join((type(fact).__name__, *(f"{name}={_shown(value)}" for name, value in told)))
        return cut(line, self._longest)

    def _calls(self, fact: f.Fact) -> Iterator[tuple[str, Simple]]:
        """The calls it speaks of, as `name/id`."""
        asked = [f"{call.name}/{call.id}" for call in requested(fact)]
        for key in keys(fact):
            named = self._names.of(fact.session, key)
            asked.append(f"{key.seq}.{key.ordinal}" if named is None else f"{named.name}/{named.id}")
        for one in asked[:MANY]:
            yield "call", one
        if len(asked) > MANY:
            yield "more_calls", len(asked) - MANY


def _counts(fact: f.Fact) -> Iterator[tuple[str, int]]:
    """How many messages a fact brings or folds."""
    for field in fields(fact):
        value = getattr(fact, field.name)
        if isinstance(value, tuple) and not isinstance(value, CallKey) and value and _counted(value[0]):
            yield field.name, len(value)


def _counted(one: object) -> bool:
    """A message, or the number of one."""
    return isinstance(one, f.NewMessage | int)


def _spent(call: f.ModelCall) -> Iterator[tuple[str, Simple]]:
    yield "purpose", call.purpose
    yield "model", call.model
    if call.usage is not None:
        yield "prompt_tokens", call.usage.prompt_tokens
        yield "completion_tokens", call.usage.completion_tokens
    yield "milliseconds", call.milliseconds
    if call.cost is not None:
        yield "cost", call.cost
    if call.context is not None:
        yield "context_left", call.context.left


def _bodies(fact: f.Fact, longest: int) -> Iterator[tuple[str, Simple]]:
    """What was said, a message or call at a time."""
    for call in requested(fact):
        yield "arguments", cut(call.arguments, longest)
    for field in fields(fact):
        value = getattr(fact, field.name)
        for one in value[:MANY] if isinstance(value, tuple) else (value,):
            if isinstance(one, f.NewMessage):
                yield "body", cut(one.body, longest)


def _shown(value: Simple) -> str:
    """A value within a line: as it is where that is plain, else quoted, so that no text can pass for another field."""
    if not isinstance(value, str):
        return json.dumps(value)
    text = cut(value, LONGEST_LINE * 8)
    plain = text and text.isprintable() and not set(text) & set(" \"'=\\")
    return text if plain else f'"{"".join(map(_printable, text))}"'


def _printable(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
