"""What a docstring says of a function and of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import docstring_parser


@dataclass(frozen=True, slots=True)
class Described:
    text: str
    parameters: Mapping[str, str]


def described(function: Callable[..., Any]) -> Described:
    """The docstring's text without its sections, and its words on each parameter; google, numpy and rest style."""
    text = inspect.cleandoc(function.__doc__ or "")
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return Described(text, {})
    parts = [parsed.short_description, parsed.long_description]
    gap = "\n\n" if parsed.blank_after_short_description else "\n"
    words = {one.arg_name.lstrip("*"): " ".join((one.description or "").split()) for one in parsed.params}
    return Described(
        gap.join(part.strip() for part in parts if part), {name: one for name, one in words.items() if one}
    )
