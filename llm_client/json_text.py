"""Reading JSON that models and endpoints wrote: strict about shape, forgiving about broken Unicode."""

from __future__ import annotations

import json
from typing import Final, NoReturn

import pydantic_core

from llm_client.service import Json

_MAX_DEPTH: Final = 100
"""Deeper than any answer; deeper values could be read but not written again."""


def read_json(text: str | bytes, *, keep_halves: bool = False) -> Json:
    """The value; lone surrogates (`\\ud800`), which no file and no request can carry, become U+FFFD.

    With `keep_halves` they stay, for a piece whose next piece may hold the other half.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return _shallow(pydantic_core.from_json(text, allow_inf_nan=False))
    except ValueError:
        # The fast reader refuses lone surrogates; models write them when they cut an emoji in two.
        if (b"\\u" if isinstance(text, bytes) else "\\u") not in text:  # type: ignore[operator]
            raise
    try:
        value: Json = json.loads(text, parse_constant=_refuse)
        return _shallow(value) if keep_halves else _cleaned(_shallow(value))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(value: Json) -> str:
    return pydantic_core.to_json(value).decode()


def cleaned(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD; a pair written as two halves becomes its character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _shallow(value: Json) -> Json:
    """The value, if it is not nested too deeply (the reader's own limit is 200)."""
    layer: list[Json] = [value]
    for _ in range(_MAX_DEPTH):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return value
    raise ValueError("nested too deeply")


def cleaned_object(value: dict[str, Json]) -> dict[str, Json]:
    return {cleaned(key): _cleaned(item) for key, item in value.items()}


def _cleaned(value: Json) -> Json:
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return cleaned_object(value) if isinstance(value, dict) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
