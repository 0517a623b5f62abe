"""What a model wrote either becomes exactly what the function is given, or the model is told what is wrong."""

from __future__ import annotations

import enum
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from power_loop.tools import ArgumentsInvalid, Tool, tool
from power_loop.tools.arguments import MAX_DEPTH, MAX_MESSAGE

pytestmark = pytest.mark.acceptance("C5")


class Color(enum.Enum):
    RED = "red"


class Line(BaseModel):
    sku: str
    count: int = Field(gt=0)


@dataclass
class Point:
    x: int


@tool
def order(customer: str, lines: list[Line], express: bool = False, *, note: str | None = None) -> None:
    """Order."""


@tool
def free(value: Any = None) -> None: ...


def refused(made: Tool, text: str) -> str:
    with pytest.raises(ArgumentsInvalid) as raised:
        made.arguments(text)
    message = str(raised.value)
    assert len(message) <= MAX_MESSAGE
    assert message.startswith(f"The arguments of {made.name} are not valid, so it did not run:\n- ")
    assert message.endswith("Correct them and call it again.")
    assert "pydantic" not in message
    message.encode()
    return message


def of_type(annotation: Any) -> Tool:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    return tool(f)


def test_accepted_arguments_are_validated_values_with_defaults() -> None:
    accepted = order.arguments('{"customer": "c", "lines": [{"sku": "a", "count": 2}]}')
    assert accepted.passed == {"customer": "c", "lines": [Line(sku="a", count=2)], "express": False, "note": None}
    assert accepted.values == accepted.passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"customer": "c", "lines": [', "breaks off at its end, character 28"),
        ('{"customer": "c"', "breaks off at its end, character 16"),
        ('{"customer": "c" "lines": []}', 'line 1 column 18 (character 17), near: {"customer": "c" "lines": []}'),
        ("{'customer': 1}", "line 1 column 2 (character 1)"),
        ('{"customer": "c"} and more', "Extra data at line 1 column 19"),
        ('{"customer": "a\nb"}', "control character"),
        ("null", "they are null, not one JSON object"),
        ("[]", "they are an array, not one JSON object"),
        ('"{}"', "they are a string, not one JSON object"),
        ("7", "they are a number, not one JSON object"),
        ("{}", "customer: required, but missing"),
        ('{"customer": "c"}', "lines: required, but missing"),
        ('{"customer": "c", "lines": [], "expres": true}', '"expres": there is no such argument'),
        ('{"customer": 3, "lines": []}', "customer: Input should be a valid string; got a number 3"),
        ('{"lines": [{"sku": "a", "count": 0}]}', "lines[0].count: Input should be greater than 0; got a number 0"),
        ('{"customer": "c", "lines": {"sku": "a"}}', "lines: Input should be a valid array; got an object"),
        ('{"customer": null, "lines": []}', "customer: Input should be a valid string; got null"),
        ('{"customer": "c", "customer": "d", "lines": []}', '"customer" is given more than once'),
        ('{"customer": "c", "lines": [{"sku": "a", "sku": "b", "count": 1}]}', '"sku" is given more than once'),
        ('{"customer": NaN, "lines": []}', "NaN is no JSON number"),
        ('{"customer": -Infinity, "lines": []}', "-Infinity is no JSON number"),
        ('{"customer": 1e999, "lines": []}', "1e999 is too large"),
        ('{"customer": ' + "9" * 5000 + "}", "5000 digits is too large"),
        ('{"customer": "\\ud83d", "lines": []}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('{"customer": "\ud83d"}', "half of a surrogate pair at character 14"),
        ('{"customer": ' + "[" * 100_000, "nested deeper than 100"),
        ('{"customer": ' + '{"a":' * 100_000, "nested deeper than 100"),
        ("", "none were written"),
        (" \n", "none were written"),
    ],
    ids=range(30),
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_and_where(text: str, words: str) -> None:
    assert words in refused(order, text)


def test_a_refusal_says_all_that_is_wrong_and_what_is_expected() -> None:
    message = refused(order, '{"lines": [{"sku": 1}], "express": 1, "nope": 0}')
    for words in (
        "customer: required, but missing",
        "lines[0].sku: Input should be a valid string; got a number 1",
        "lines[0].count: required, but missing",
        "express: Input should be a valid boolean; got a number 1",
        '"nope": there is no such argument',
        "The arguments are: customer (string, required), lines (array, required), express (boolean), ",
        "note (string or null).",
    ):
        assert words in message


def test_a_refusal_is_bounded() -> None:
    long = "x" * 10_000
    message = refused(order, json.dumps({"customer": [long], "lines": [{"sku": 1, "count": long}] * 200, long: long}))
    assert "and 394 more" in message
    assert long not in message
    many = Tool.from_schema(
        "many", "", {"properties": {f"{n}{'y' * 100}": {} for n in range(200)}}, lambda **given: None
    )
    assert "The arguments are" not in refused(many, '{"z": 1}')


def test_nesting_up_to_the_limit_is_taken() -> None:
    def nested(depth: int) -> str:
        return '{"value": ' + "[" * depth + "]" * depth + "}"

    assert free.arguments(nested(MAX_DEPTH - 2)).passed
    assert "nested deeper" in refused(free, nested(MAX_DEPTH + 1))


def test_no_text_is_no_arguments_for_a_tool_that_needs_none() -> None:
    assert free.arguments("").passed == {"value": None}
    assert free.arguments(" ").passed == {"value": None}
    assert "none were written" in refused(order, "")


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, '"5"', 5),
        (int, '"-17"', -17),
        (int, "5.0", 5),
        (float, "5", 5.0),
        (float, '"1.5e3"', 1500.0),
        (bool, '"true"', True),
        (bool, '"False"', False),
        (int | None, '"5"', 5),
        (list[int], '[1, "2"]', [1, 2]),
        (int | str, '"5"', "5"),
        (int | list[int], '"5"', 5),
        (dict[int, str], '{"1": "a"}', {1: "a"}),
        (set[int], "[1, 1]", {1}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (Color, '"red"', Color.RED),
        (Literal["a", 1], "1", 1),
        (date, '"2026-11-21"', date(2026, 11, 21)),
        (datetime, '"2026-11-21T10:00:00"', datetime(2026, 11, 21, 10)),
        (datetime, '"2026-11-21"', datetime(2026, 11, 21)),
        (timedelta, '"PT5S"', timedelta(seconds=5)),
        (Decimal, '"12345678901234567.89"', Decimal("12345678901234567.89")),
        (Decimal, "0.1", Decimal("0.1")),
        (UUID, '"00000000-0000-0000-0000-000000000001"', UUID(int=1)),
        (Path, '"a/b"', Path("a/b")),
        (bytes, '"x"', b"x"),
        (Point, '{"x": 1}', Point(1)),
        (str, '"\\ud83d\\udc4b"', "👋"),
        (int, "9" * 400, int("9" * 400)),
    ],
    ids=str,
)
def test_what_can_mean_one_thing_is_taken(annotation: Any, text: str, expected: object) -> None:
    value = of_type(annotation).arguments(f'{{"x": {text}}}').passed["x"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "true"),
        (int, '" 5"'),
        (int, '"1_000"'),
        (int, '"+5"'),
        (int, '"5.0"'),
        (int, '"٣"'),
        (int, '""'),
        (int, "5.5"),
        (int | list[int], "true"),
        (float, "true"),
        (float, '"nan"'),
        (float, '"inf"'),
        (float, '"1e999"'),
        (bool, "1"),
        (bool, "0.0"),
        (bool, '"yes"'),
        (bool, '"on"'),
        (str, "5"),
        (list[int], '"[1]"'),
        (date, "1493942400"),
        (datetime, "1493979010"),
        (timedelta, "5"),
        (Color, '"RED"'),
        (Literal["a"], '"b"'),
    ],
    ids=str,
)
def test_what_would_be_a_guess_is_refused(annotation: Any, text: str) -> None:
    assert "\n- x" in refused(of_type(annotation), f'{{"x": {text}}}')


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    @tool
    def f(x: list[int] = []) -> None:  # noqa: B006 - the point
        ...

    f.arguments("{}").passed["x"].append(1)
    assert f.arguments("{}").passed["x"] == []


def test_a_validator_that_fails_in_any_way_is_a_refusal() -> None:
    class Checked(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            if value == 1:
                raise ValueError("one is taken")
            raise KeyError("broken")

    made = Tool.from_model(Checked, lambda it: it, name="checked")
    assert "x: Value error, one is taken; got a number 1" in refused(made, '{"x": 1}')
    assert "KeyError" in refused(made, '{"x": 2}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "- s: required, but missing"),
        ('{"s": "a", "z": 1}', '"z": there is no such argument'),
        ('{"s": 1}', "s: expected string; got a number 1"),
        ('{"s": "a", "i": true}', "i: expected integer or null; got a boolean true"),
        ('{"s": "a", "i": 1.5}', "i: expected integer or null; got a number 1.5"),
        ('{"s": "a", "e": "c"}', 'e: expected one of ["a", 1]; got "c"'),
        ('{"s": "a", "e": true}', 'e: expected one of ["a", 1]; got true'),
        ('{"s": "a", "k": 0}', "k: expected false; got 0"),
        ('{"s": "a", "o": []}', "o: expected object; got an array []"),
    ],
)
def test_a_raw_schema_is_checked_at_its_top(text: str, words: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "s": {"type": "string"}, "i": {"type": ["integer", "null"]}, "e": {"enum": ["a", 1]}, "k": {"const": False},
            "o": {"type": "object", "properties": {"deep": {"type": "string"}}}, "n": {"type": "number"}, "any": True,
        },
        "required": ["s"],
    }  # fmt: skip
    made = Tool.from_schema("raw", "", schema, lambda **given: given)
    assert words in refused(made, text)
    taken = '{"s": "a", "i": 2.0, "e": 1, "k": false, "o": {"deep": 5}, "n": 1, "any": [null]}'
    assert made.arguments(taken).passed == json.loads(taken)


def test_a_raw_schema_may_allow_more() -> None:
    made = Tool.from_schema(
        "raw", "", {"type": "object", "additionalProperties": {"type": "string"}}, lambda **given: given
    )
    assert made.arguments('{"x": "y"}').passed == {"x": "y"}
    patterned = Tool.from_schema("raw", "", {"patternProperties": {"^x": {}}}, lambda **given: given)
    assert patterned.arguments('{"x1": "y"}').passed == {"x1": "y"}


# Letters of every kind, but no halves of surrogate pairs: those are refused, see above.
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_any_json_value_arrives_unchanged(value: Any, ascii_only: bool) -> None:
    arrived = free.arguments(json.dumps({"value": value}, ensure_ascii=ascii_only)).passed["value"]
    assert json.dumps(arrived) == json.dumps(value)


@given(st.builds(Line, sku=TEXT, count=st.integers(1, 2**70)), TEXT, st.booleans(), st.none() | TEXT)
def test_typed_arguments_round_trip(line: Line, customer: str, express: bool, note: str | None) -> None:
    text = json.dumps({"customer": customer, "lines": [line.model_dump()], "express": express, "note": note})
    assert order.arguments(text).passed == {"customer": customer, "lines": [line], "express": express, "note": note}


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | JSON.map(json.dumps))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for made in (order, free):
        with suppress(ArgumentsInvalid):
            made.arguments(text)


@given(st.integers() | st.floats() | st.text() | st.booleans())
def test_what_an_int_is_given_is_what_was_written(value: Any) -> None:
    made = of_type(int)
    try:
        arrived = made.arguments(json.dumps({"x": value})).passed["x"]
    except ArgumentsInvalid:
        return
    assert not isinstance(value, bool)
    assert arrived == (int(value) if isinstance(value, str) else value)
    assert not isinstance(value, float) or math.isfinite(value)
