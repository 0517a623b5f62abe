"""One of each kind of fact there is, made from the types of its fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Any

from power_loop.engine import calls, facts
from power_loop.values import CallKey, SessionId


def every_fact(session: str = "s", text: str = "text") -> list[facts.Fact]:
    """Every kind of fact, of turns 1, 2, 3, ..., once with all it can hold and once with only what it must hold."""
    made: list[facts.Fact] = []
    for kind in kinds():
        for full in (True, False):
            values = {name: _value(hint, text, full) for name, hint in _hints(kind).items()}
            made.append(kind(**values | {"session": SessionId(session), "turn": len(made) + 1}))
    return made


def kinds() -> list[type[facts.Fact]]:
    """All kinds of facts, found, not listed: a new one is among them."""
    # A dataclass with slots is made twice; the class that counts is the later one.
    return list({kind.__qualname__: kind for kind in _below(facts.Fact)}.values())


def _below(kind: type[facts.Fact]) -> Iterator[type[facts.Fact]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _below(sub)


def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, localns=dict(vars(calls)))


def _value(hint: Any, text: str, full: bool) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _value(hint.__supertype__, text, full)
    if origin in (typing.Union, UnionType):
        if NoneType in inner and not full:
            return None
        return _value(next(one for one in inner if one is not NoneType), text, full)
    if origin is tuple:
        return (_value(inner[0], text, full),) * 2 if full else ()
    if hint is CallKey:
        return CallKey(2, 0)
    if issubclass(hint, Enum):
        return next(iter(hint))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint(**{name: _value(field, text, full) for name, field in _hints(hint).items()})
    return {str: text, int: 7, float: 0.5, bool: True, bytes: b"\xff\x00"}[hint]
