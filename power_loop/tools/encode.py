"""A tool's result as text for the model."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeAlias

import pydantic_core
from pydantic import BaseModel

from power_loop.values import cleaned, compact_json

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


def encoded(value: object) -> str:
    """The value as text: a `str` as it is, everything else as JSON text that any JSON parser reads.

    Pydantic models, dataclasses, enums, mappings, lists, tuples, sets (sorted), dates, UUIDs, decimals and paths have
    their usual JSON form. Bytes are text if they are UTF-8, else base64. NaN and infinities become strings, because
    JSON has none. Lone surrogates become U+FFFD, every other character stays. What has no JSON form is its `repr` as a
    JSON string; iterators too, for they are not consumed. Never raises.
    """
    if isinstance(value, str) and not isinstance(value, Enum):
        return cleaned(str.__str__(value))
    try:
        return compact_json(jsonable(value))
    except Exception:  # noqa: BLE001 - whatever a tool returned, its call gets an answer
        return json.dumps(_shown(value), ensure_ascii=False)


def jsonable(value: object) -> Json:
    """The value as a fresh tree of JSON values, by the rules of `encoded`. Never raises."""
    try:
        return _plain(value)
    except Exception:  # noqa: BLE001 - a circle, or an object that fails when looked at
        return _shown(value)


def _plain(value: object) -> Json:
    match value:
        case Enum():
            return _plain(value.value)
        case str():
            return cleaned(str.__str__(value))
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case bytes() | bytearray() | memoryview():
            return _text(bytes(value))
        case BaseModel():
            return _plain(_dumped(value))
        case Mapping():
            return {_key(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | deque():
            return [_plain(item) for item in value]
        case set() | frozenset():
            return sorted((_plain(item) for item in value), key=compact_json)
        case Iterator():
            return _shown(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    return _plain_leaf(value)


def _plain_leaf(value: object) -> Json:
    leaf = pydantic_core.to_jsonable_python(value, fallback=_shown, inf_nan_mode="strings")
    return cleaned(leaf) if isinstance(leaf, str) else json.loads(compact_json(leaf))


def _dumped(model: BaseModel) -> object:
    try:
        return model.model_dump(mode="json")
    except Exception:  # noqa: BLE001 - bytes that are no text, a lone surrogate, a field of any type
        return model.model_dump()


def _key(key: object) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else compact_json(plain)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def _shown(value: object) -> str:
    try:
        return cleaned(repr(value))
    except Exception:  # noqa: BLE001 - a repr of its own that fails
        return f"<{type(value).__name__}>"
