"""A result of any kind becomes text for the model."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from power_loop.tools import encoded


class Color(enum.Enum):
    RED = "red"


class Mood(enum.StrEnum):
    GOOD = "good"


class Level(enum.IntEnum):
    HIGH = 3


class Account(BaseModel):
    name: str
    key: SecretStr = SecretStr("hunter2")
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)


class Raw(BaseModel):
    data: bytes
    any: Any = None


@dataclass
class Point:
    x: int
    inside: Any = None


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Text(str):
    __slots__ = ()


Pair = namedtuple("Pair", "a b")
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is: {\"é\"} 👋 \u2028 \x00", "as it is: {\"é\"} 👋 \u2028 \x00"),
        ("", ""),
        (Text("sub"), "sub"),
        ("half \ud83d", "half \ufffd"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
        (math.nan, '"nan"'),
        ([math.inf, -math.inf], '["inf","-inf"]'),
        ({"é": ["👋", None]}, '{"é":["👋",null]}'),
        ({1: "a", None: "b", Color.RED: "c", (1, 2): "d"}, '{"1":"a","null":"b","red":"c","[1,2]":"d"}'),
        ({"k\ud800": "v\ud800"}, '{"k\ufffd":"v\ufffd"}'),
        ((1, 2), "[1,2]"),
        (Pair(1, 2), "[1,2]"),
        ({"b", "a"}, '["a","b"]'),
        (frozenset({2}), "[2]"),
        (deque([1]), "[1]"),
        (OrderedDict(a=1), '{"a":1}'),
        (Color.RED, '"red"'),
        (Mood.GOOD, '"good"'),
        (Level.HIGH, "3"),
        (b"text", '"text"'),
        (b"\xff\x00", '"/wA="'),
        (bytearray(b"x"), '"x"'),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), '"2026-01-02T03:00:00Z"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Path("a/b"), '"a/b"'),
        (Account(name="n"), '{"name":"n","key":"**********","at":"2026-01-02T00:00:00Z"}'),
        (Raw(data=b"\xff"), '{"data":"/w==","any":null}'),
        (Raw(data=b"", any="\ud800"), '{"data":"","any":"\ufffd"}'),
        (Point(1, {Point}), None),
        (Point(1, Point(2)), '{"x":1,"inside":{"x":2,"inside":null}}'),
        ([Account], None),
        (iter([1]), None),
        ((one for one in [1]), None),
        (range(3), '"range(0, 3)"'),
        (object(), None),
        (print, None),
        (ValueError("x"), "\"ValueError('x')\""),
        (Broken(), '"<Broken>"'),
        ([Broken(), 1], '["<Broken>",1]'),
        (CIRCLE, '"[[...]]"'),
        (10**5000, '"<int>"'),
        ({"n": 10**5000}, '"<dict>"'),
    ],
    ids=range(48),
)  # fmt: skip
def test_encoded(value: Any, text: str | None) -> None:
    said = encoded(value)
    assert text is None or said == text
    assert type(said) is str
    said.encode()
    if not isinstance(value, str) or isinstance(value, enum.Enum):
        json.loads(said, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_an_iterator_is_not_consumed() -> None:
    one = iter([1, 2])
    encoded(one)
    assert list(one) == [1, 2]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=("Cs",))),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    ).filter(lambda value: not isinstance(value, str))
)  # fmt: skip
def test_json_values_are_lossless(value: Any) -> None:
    assert json.loads(encoded(value)) == value


@given(st.from_type(object) | st.text() | st.lists(st.binary() | st.decimals() | st.complex_numbers()))
def test_anything_has_a_text(value: Any) -> None:
    encoded(value).encode()
