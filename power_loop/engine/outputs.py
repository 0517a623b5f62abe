"""The whole text of a result of which the model is shown a part, as it is kept."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Immutable, compressed once. Making one of a long text takes a while: not on the event loop."""

    characters: int
    data: bytes = field(repr=False)
    """zlib over UTF-8."""

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(characters=len(text), data=zlib.compress(text.encode()))

    @property
    def text(self) -> str:
        """Raises `ValueError` if the data are not what `of` has made."""
        try:
            text = zlib.decompress(self.data).decode()
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(text) != self.characters:
            raise ValueError(f"{len(text)} characters, not {self.characters}")
        return text
