"""How many tokens a text may have, where no provider has counted it.

Characters a token differ by content: prose and code 4.0, JSON 2.3, listings 2.1, base64 1.5, Chinese 1.2 (FIELD.md
section 6, measured). The estimate begins careful, by kind of content: it would rather say too many. What providers
report then corrects it: a `Measure` is a value, and `learned` gives a better one.

Texts are measured as they go out, JSON in JSON: a quote within is two characters. A window may hold thousands of
messages, so no character is looked at in Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_IMAGE: Final = 1_600
CHARS_PER_TOKEN_FILE: Final = 40
"""Of a file's or a sound's base64: a page of PDF is billed by what stands on it, a second of sound by its length."""

PRIOR: Final = 1_000
"""Estimated tokens of a kind that must have been counted before what was learned weighs as much as the estimate."""
MEMORY: Final = 50_000
"""Of so many tokens a kind, what was learned long ago fades."""
LEAST: Final = 0.6
MOST: Final = 3.0
"""How far one count may be off the careful estimate: a provider that reports nonsense must not switch it off."""

UNBROKEN: Final = 64
"""Characters without a space or an escape, on average, from which on a text is no words."""

_WIDE: Final = re.compile("[\u2e80-\U0010ffff]+")
_MEDIA: Final = re.compile(r'"(url|data|file_data)"\s*:\s*"([^"]*)"')


class Kind(StrEnum):
    """What a message's text is made of, as far as that is cheap to tell."""

    SAID = "said"
    """Words of people and models."""
    CALLS = "calls"
    """An answer that asks for calls: names and JSON arguments."""
    RESULT = "result"
    JSON = "json"
    """A result that is JSON."""
    DENSE = "dense"
    """No words: base64, digests; also what is written without spaces."""
    WIDE = "wide"
    """Chinese, Japanese, Korean, emoji."""


CHARS_PER_TOKEN: Final[Mapping[Kind, float]] = {
    Kind.SAID: 3.0,
    Kind.CALLS: 2.5,
    Kind.RESULT: 3.0,
    Kind.JSON: 2.5,
    Kind.DENSE: 1.5,
    Kind.WIDE: 3.0,
}
"""Of all but the wide characters."""
CHARS_PER_TOKEN_WIDE: Final = 1.2


class _Sized(NamedTuple):
    kind: Kind
    text: int
    """Tokens of the text, carefully estimated."""
    media: int
    """Of pictures, sounds and files, which are not billed by their length in base64."""


def tokens(text: str) -> int:
    """A careful estimate for one message's wire text."""
    sized = _sized(text)
    return sized.text + sized.media


def _sized(wire: str) -> _Sized:
    media = 0
    # Within a text of a message quotes are escaped: only a part of the message itself can match.
    if '"type"' in wire and (found := _MEDIA.findall(wire)):
        media = sum(TOKENS_PER_IMAGE if key == "url" else len(data) // CHARS_PER_TOKEN_FILE for key, data in found)
        wire = _MEDIA.sub("", wire)
    narrow = len(wire) if wire.isascii() else len(_WIDE.sub("", wire))
    wide = len(wire) - narrow
    kind = _kind(wire, narrow, wide)
    text = round(narrow / CHARS_PER_TOKEN[kind] + wide / CHARS_PER_TOKEN_WIDE)
    return _Sized(kind, TOKENS_PER_MESSAGE + text, media)


def _kind(wire: str, narrow: int, wide: int) -> Kind:
    """No more than a guess."""
    if wide > narrow:
        return Kind.WIDE
    if narrow > 4 * UNBROKEN and (wire.count(" ") + wire.count("\\")) * UNBROKEN < narrow:
        return Kind.DENSE
    if wire.startswith('{"role":"tool"'):
        begun = ('{"role":"tool","content":"{', '{"role":"tool","content":"[')
        return Kind.JSON if wire.startswith(begun) else Kind.RESULT
    return Kind.CALLS if wire.startswith('{"role":"assistant"') and '"tool_calls":[' in wire else Kind.SAID


class _Seen(NamedTuple):
    estimated: float = 0.0
    counted: float = 0.0

    @property
    def factor(self) -> float:
        return (PRIOR + self.counted) / (PRIOR + self.estimated)

    def more(self, estimated: float, factor: float) -> _Seen:
        fade = min(1.0, MEMORY / (self.estimated + 1))
        return _Seen(self.estimated * fade + estimated, self.counted * fade + estimated * min(MOST, max(LEAST, factor)))


@dataclass(frozen=True, slots=True)
class Measure:
    """What is known of one model's tokens: a factor on the careful estimate, by kind of content."""

    seen: Mapping[Kind, _Seen] = field(default_factory=dict)

    def tokens(self, wire: str) -> int:
        """An estimate for one message."""
        sized = _sized(wire)
        seen = self.seen.get(sized.kind)
        return sized.media + (sized.text if seen is None else max(1, round(sized.text * seen.factor)))

    def learned(self, wires: Iterable[str], counted: int) -> Measure:
        """A better measure, after a provider counted exactly these messages as so many tokens.

        Where they are of several kinds, each is taken to be off what it was believed to be by the same factor: what was
        learned of one kind alone helps to tell the others.
        """
        estimated: dict[Kind, int] = {}
        for wire in wires:
            kind, text, media = _sized(wire)
            if media:
                return self  # what a picture costs says nothing about text
            estimated[kind] = estimated.get(kind, 0) + text
        careful = sum(estimated.values())
        if not careful or not LEAST / 2 <= counted / careful <= MOST:
            return self  # no text is so far off: what was counted is something else, other tools say
        believed = {kind: self.seen.get(kind, _Seen()).factor for kind in estimated}
        off = counted / sum(size * believed[kind] for kind, size in estimated.items())
        more = {kind: self.seen.get(kind, _Seen()).more(size, believed[kind] * off) for kind, size in estimated.items()}
        return Measure({**self.seen, **more})


CAREFUL: Final = Measure()
"""What is known before any provider has counted anything."""
