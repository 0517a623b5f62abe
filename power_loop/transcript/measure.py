"""How many tokens a text may have, where no provider has counted it.

Characters per token differ by content: prose and code 4.0, JSON 2.3, listings 2.1, base64 1.5, Chinese 1.2 (FIELD.md
section 6, measured). The estimate begins careful: it would rather say too many. What providers report then corrects it,
by kind of content: a `Measure` is a value, and `learned` gives a better one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

CHARS_PER_TOKEN: Final = 3.0
CHARS_PER_TOKEN_WIDE: Final = 1.2
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_IMAGE: Final = 1_600

PRIOR: Final = 1_000
"""Estimated tokens of a kind that must have been counted before what was learned weighs as much as the estimate."""
MEMORY: Final = 50_000
"""Of so many tokens a kind, what was learned long ago fades."""
LEAST: Final = 0.6
MOST: Final = 3.0
"""How far a factor may move from the careful estimate: a provider that reports nonsense must not switch it off."""

_IMAGE: Final = re.compile(r'"data:image/[^"]*"')


class Kind(StrEnum):
    """What a message's text is made of, as far as its first characters tell."""

    SAID = "said"
    """Words of people and models."""
    CALLS = "calls"
    """An answer that asks for calls: names and JSON arguments."""
    RESULT = "result"
    JSON = "json"
    """A result that is JSON."""


def kind_of(wire: str) -> Kind:
    """The kind of a message's wire text; cheap, and no more than a guess."""
    if wire.startswith('{"role":"tool"'):
        return (
            Kind.JSON
            if wire.startswith(('{"role":"tool","content":"{', '{"role":"tool","content":"['))
            else Kind.RESULT
        )
    return Kind.CALLS if wire.startswith('{"role":"assistant"') and '"tool_calls":[' in wire else Kind.SAID


def tokens(text: str) -> int:
    """A careful estimate for one message's text. An image is billed by its pixels, not by its length in base64."""
    images = 0
    if '"data:image/' in text:
        text, images = _IMAGE.subn("", text)
    wide = 0 if text.isascii() else sum(character > "\u2e80" for character in text)
    written = round((len(text) - wide) / CHARS_PER_TOKEN + wide / CHARS_PER_TOKEN_WIDE)
    return TOKENS_PER_MESSAGE + images * TOKENS_PER_IMAGE + written


class _Seen(NamedTuple):
    estimated: float
    counted: float

    @property
    def factor(self) -> float:
        return min(MOST, max(LEAST, (PRIOR + self.counted) / (PRIOR + self.estimated)))


@dataclass(frozen=True, slots=True)
class Measure:
    """What is known of one model's tokens: a factor on the careful estimate, by kind of content."""

    seen: Mapping[Kind, _Seen] = field(default_factory=dict)

    def tokens(self, wire: str) -> int:
        """An estimate for one message."""
        if not self.seen:
            return tokens(wire)
        seen = self.seen.get(kind_of(wire))
        return tokens(wire) if seen is None else max(1, round(tokens(wire) * seen.factor))

    def learned(self, wires: Iterable[str], counted: int) -> Measure:
        """A better measure, after a provider counted exactly these messages as so many tokens.

        Where they are of several kinds, each is taken to be off by the same factor.
        """
        estimated: dict[Kind, float] = {}
        for wire in wires:
            if '"data:image/' in wire:
                return self  # what a picture costs says nothing about text
            kind = kind_of(wire)
            estimated[kind] = estimated.get(kind, 0.0) + tokens(wire)
        total = sum(estimated.values())
        if not LEAST / 2 <= counted / max(1.0, total) <= MOST:
            return self  # no text is so far off: what was counted is something else, other tools say
        seen = dict(self.seen)
        for kind, size in estimated.items():
            before = seen.get(kind, _Seen(0.0, 0.0))
            fade = min(1.0, MEMORY / (before.estimated + 1))
            share = counted * size / total
            seen[kind] = _Seen(before.estimated * fade + size, before.counted * fade + share)
        return Measure(seen)


CAREFUL: Final = Measure()
"""What is known before any provider has counted anything."""
