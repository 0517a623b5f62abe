"""How many tokens a text may have, where no provider has counted it.

Characters per token differ by content: prose and code 4.0, JSON 2.3, listings 2.1, base64 1.5, Chinese 1.2 (FIELD.md
section 6, measured). The estimate is careful: it would rather say too many.
"""

from __future__ import annotations

import re
from typing import Final

CHARS_PER_TOKEN: Final = 3.0
CHARS_PER_TOKEN_WIDE: Final = 1.2
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_IMAGE: Final = 1_600

_IMAGE: Final = re.compile(r'"data:image/[^"]*"')


def tokens(text: str) -> int:
    """A careful estimate for one message's text. An image is billed by its pixels, not by its length in base64."""
    images = 0
    if '"data:image/' in text:
        text, images = _IMAGE.subn("", text)
    wide = 0 if text.isascii() else sum(character > "\u2e80" for character in text)
    written = round((len(text) - wide) / CHARS_PER_TOKEN + wide / CHARS_PER_TOKEN_WIDE)
    return TOKENS_PER_MESSAGE + images * TOKENS_PER_IMAGE + written
