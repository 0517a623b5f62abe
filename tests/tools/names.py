"""Names of examples: the same in every process, so that several can share the tests."""

from __future__ import annotations

import re


def said(value: object) -> str:
    """As `repr` says it, without the place in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", value if isinstance(value, str) else repr(value))
