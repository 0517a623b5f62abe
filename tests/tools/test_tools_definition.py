"""Tools from typed functions: schema, descriptions, options."""

from __future__ import annotations

import enum
import functools
import inspect
import json
from datetime import datetime
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from power_loop.tools import Tool, tool
from power_loop.values import Effect

pytestmark = pytest.mark.acceptance("H1")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where somebody lives."""

    title: str = Field(description="the name on the door")
    number: int = Field(gt=0)


class Node(BaseModel):
    kids: list[Node] = []


def parameters(made: Tool) -> dict[str, Any]:
    assert made.parameters == json.loads(made.spec)["function"]["parameters"]
    return made.parameters


def test_bare_and_with_arguments() -> None:
    @tool
    def bare(x: int) -> int:
        """Bare."""
        return x + 1

    @tool(effect="read", timeout=2, name="other-name", description="Said.")
    async def full(x: int) -> int:
        return x + 1

    assert isinstance(bare, Tool)
    assert (bare.name, bare.description, bare.effect, bare.timeout, bare.is_async) == (
        "bare", "Bare.", Effect.ONCE, None, False,
    )  # fmt: skip
    assert (full.name, full.description, full.effect, full.timeout, full.is_async) == (
        "other-name", "Said.", Effect.READ, 2, True,
    )  # fmt: skip


async def test_a_tool_stays_the_function_it_was() -> None:
    @tool
    def plain(x: int, *, y: int = 2) -> int:
        """Words."""
        return x * y

    @tool(effect="read")
    async def later(x: int) -> int:
        return x

    assert plain(3) == 6
    assert plain(x=3, y=3) == 9
    assert await later(5) == 5
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Words."
    assert plain.__module__ == __name__
    assert plain.__qualname__.endswith("<locals>.plain")
    assert list(inspect.signature(plain).parameters) == ["x", "y"]
    assert plain.__wrapped__ is plain.function  # type: ignore[attr-defined]


def test_a_tool_is_frozen() -> None:
    @tool
    def plain(x: int) -> int:
        return x

    with pytest.raises(AttributeError):
        plain.name = "other"  # type: ignore[misc]
    plain.parameters["properties"].clear()
    assert "x" in plain.parameters["properties"]
    assert len({plain, plain}) == 1


def test_the_schema_of_many_types() -> None:
    @tool
    def many(
        whole: int,
        to: list[Address],
        pair: tuple[int, str],
        either: int | str,
        color: Color = Color.RED,
        at: datetime | None = None,
        *,
        mode: Literal["fast", "slow"] = "fast",
        share: Annotated[float, Field(ge=0, le=1, description="of the whole")] = 0.5,
        limit: int = Field(default=3, gt=0),
        tags: Optional[dict[str, int]] = None,  # noqa: UP045 - the old spelling is a case of its own
        noted: Annotated[str, "said in the annotation"] = "",
        free: Any = None,
    ) -> None: ...

    assert parameters(many) == {
        "type": "object",
        "properties": {
            "whole": {"type": "integer"},
            "to": {"type": "array", "items": {"$ref": "#/$defs/Address"}},
            "pair": {
                "type": "array", "minItems": 2, "maxItems": 2,
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            },
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "color": {"$ref": "#/$defs/Color", "default": "red"},
            "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "default": None},
            "mode": {"enum": ["fast", "slow"], "type": "string", "default": "fast"},
            "share": {"type": "number", "minimum": 0, "maximum": 1, "description": "of the whole", "default": 0.5},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "default": 3},
            "tags": {
                "anyOf": [{"type": "object", "additionalProperties": {"type": "integer"}}, {"type": "null"}],
                "default": None,
            },
            "noted": {"type": "string", "description": "said in the annotation", "default": ""},
            "free": {"default": None},
        },
        "required": ["whole", "to", "pair", "either"],
        "additionalProperties": False,
        "$defs": {
            "Address": {
                "type": "object",
                "description": "Where somebody lives.",
                "properties": {
                    "title": {"type": "string", "description": "the name on the door"},
                    "number": {"type": "integer", "exclusiveMinimum": 0},
                },
                "required": ["title", "number"],
                "additionalProperties": False,
            },
            "Color": {"enum": ["red", "blue"], "type": "string"},
        },
    }  # fmt: skip


def test_no_parameters() -> None:
    @tool
    def nothing() -> None: ...

    assert parameters(nothing) == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_names_that_a_model_could_not_have() -> None:
    @tool
    def odd(
        json: int, copy: int, model_config: int, _hidden: int, title: str, self_: int, schema: str = "s"
    ) -> list[Any]:
        return [json, copy, model_config, _hidden, title, self_, schema]

    assert list(parameters(odd)["properties"]) == [
        "json",
        "copy",
        "model_config",
        "_hidden",
        "title",
        "self_",
        "schema",
    ]
    given = {"json": 1, "copy": 2, "model_config": 3, "_hidden": 4, "title": "t", "self_": 5}
    assert dict(odd.arguments(json.dumps(given)).passed) == {**given, "schema": "s"}


def test_an_alias_is_the_name_the_model_uses() -> None:
    @tool
    def sent(from_: Annotated[str, Field(alias="from")]) -> str:
        return from_

    assert list(parameters(sent)["properties"]) == ["from"]
    assert dict(sent.arguments('{"from": "me"}').passed) == {"from_": "me"}


def test_the_spec_is_stable_and_the_hash_follows_what_is_accepted() -> None:
    def made(note: str, kind: Any = int, name: str = "f") -> Tool:
        def f(x: Any) -> None: ...

        f.__annotations__["x"] = Annotated[kind, Field(description=note)]
        return tool(f, name=name)

    assert made("a").spec == made("a").spec
    assert json.loads(made("a").spec)["type"] == "function"
    assert list(json.loads(made("a").spec)["function"]) == ["name", "description", "parameters"]
    assert made("a").schema_hash == made("another description").schema_hash
    assert made("a").schema_hash == "11356d7a2b838880"
    assert len({made("a").schema_hash, made("a", str).schema_hash, made("a", int, "g").schema_hash}) == 3


def test_the_spec_keeps_unicode() -> None:
    @tool(description="Grüße 👋 \u2028")
    def f(x: int) -> None: ...

    assert "Grüße 👋 \u2028" in f.spec


GOOGLE = """Send an invoice.

    It goes out at once.

    Args:
        to: the customer,
            by number
        amount (int): in cents

    Returns:
        nothing
    """
NUMPY = """Send an invoice.

    It goes out at once.

    Parameters
    ----------
    to : str
        the customer,
        by number
    amount
        in cents
    """
REST = """Send an invoice.

    It goes out at once.

    :param to: the customer,
        by number
    :param int amount: in cents
    :returns: nothing
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_descriptions_come_from_the_docstring(text: str) -> None:
    def send(to: str, amount: int, undescribed: int = 0) -> None: ...

    send.__doc__ = text
    made = tool(send)
    assert made.description == "Send an invoice.\n\nIt goes out at once."
    described = {name: one.get("description") for name, one in parameters(made)["properties"].items()}
    assert described == {"to": "the customer, by number", "amount": "in cents", "undescribed": None}


def test_a_description_in_the_annotation_goes_before_the_docstring() -> None:
    @tool
    def send(
        to: Annotated[str, Field(description="annotated")], cc: str = Field(default="", description="in Field")
    ) -> None:
        """Send.

        Args:
            to: documented
            cc: documented
        """

    assert [one["description"] for one in parameters(send)["properties"].values()] == ["annotated", "in Field"]


def test_a_default_without_a_json_form_stands_in_no_schema() -> None:
    marker = object()

    @tool
    def f(x: Any = marker) -> None: ...

    assert parameters(f)["properties"]["x"] == {}
    assert f.arguments("{}").passed["x"] is marker


def test_a_set_as_a_default_has_one_order() -> None:
    names = frozenset(f"n{number}" for number in range(30))

    @tool
    def f(x: frozenset[str] = names) -> None: ...

    assert parameters(f)["properties"]["x"]["default"] == sorted(names)


@pytest.mark.parametrize(
    ("effect", "parallel", "expected"),
    [
        ("read", None, True),
        ("idempotent", None, True),
        ("once", None, False),
        ("once", True, True),
        ("read", False, False),
    ],
)
def test_once_tools_run_alone_unless_said(effect: Any, parallel: bool | None, expected: bool) -> None:
    @tool(effect=effect, parallel=parallel)
    def f() -> None: ...

    assert f.parallel is expected
    assert f.effect is Effect(effect)


def test_a_bound_method() -> None:
    class Mailer:
        def send(self, to: str) -> str:
            """Send."""
            return to

    made = tool(Mailer().send, effect="idempotent")
    assert made.name == "send"
    assert list(parameters(made)["properties"]) == ["to"]
    assert made("x") == "x"


def test_a_wrapped_function_keeps_its_parameters() -> None:
    def logged(fn: Any) -> Any:
        @functools.wraps(fn)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return inner

    @tool
    @logged
    def f(x: int) -> int:
        return x

    assert list(parameters(f)["properties"]) == ["x"]
