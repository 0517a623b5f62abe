"""What cannot be a tool is refused where it is defined."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from power_loop.errors import ToolDefinitionError
from power_loop.tools import DecoratedTool, Done, Tool, ToolContext, tool
from tests.tools.names import said

if TYPE_CHECKING:
    from collections import OrderedDict

pytestmark = pytest.mark.acceptance("H1")


class Address(BaseModel):
    """Where somebody lives."""

    title: str = Field(description="the name on the door")
    number: int = Field(gt=0)


@tool
def at_module_level(x: int, ctx: ToolContext) -> None: ...


def untyped(x) -> None: ...  # type: ignore[no-untyped-def]
def collects(*args: int) -> None: ...
def collects_names(**kwargs: int) -> None: ...
def positional(x: int, /) -> None: ...
def of_a_type(x: threading.Lock) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def checked_only(x: OrderedDict[str, int]) -> None: ...
def two(a: ToolContext, b: ToolContext) -> None: ...
def generates(x: int) -> Any:
    yield x


async def generates_later(x: int) -> Any:
    yield x


class Opaque:
    pass


def opaque(fine: int, x: Opaque) -> None: ...
def several(x: Annotated[int, Field(alias="y")], y: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (untyped, "parameter x has no type annotation"),
        (lambda x: x, "parameter x has no type annotation"),
        (collects, r"\*args"),
        (collects_names, r"\*\*kwargs"),
        (positional, "positional-only"),
        (of_a_type, "parameter x has the annotation 'threading.Lock'"),
        (checked_only, "not only for type checkers"),
        (two, "two parameters are a ToolContext"),
        (generates, "generator"),
        (generates_later, "generator"),
        (opaque, "parameter x is of a type that has no JSON schema"),
        (several, "one alias"),
        (print, "no function"),
        (3, "no function"),
        ("name", "no function"),
        (Opaque, "no function"),
        (functools.partial(positional, 1), "no function"),
        (staticmethod(positional), "no function"),
        (at_module_level, "a tool already"),
        (Opaque.__init__, "no function"),
    ],
    ids=said,
)  # fmt: skip
def test_a_function_that_cannot_be_a_tool(function: Any, words: str) -> None:
    with pytest.raises(ToolDefinitionError, match=words) as raised:
        tool(function)
    assert raised.value.code == "tool.invalid"
    assert str(raised.value).startswith(f"tool {raised.value.tool}: ")
    assert raised.value.way_out in str(raised.value)
    assert "errors.pydantic.dev" not in str(raised.value)


def test_a_method_that_is_not_bound() -> None:
    with pytest.raises(ToolDefinitionError, match=r"tool\(instance\.method\)"):

        class Mailer:
            @tool
            def send(self, to: str) -> None: ...


@pytest.mark.parametrize("annotation", ["not a type!", 5, "5", "list[", "Missing"])
def test_an_annotation_that_is_no_type(annotation: Any) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    with pytest.raises(ToolDefinitionError, match="parameter x"):
        tool(f)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "größe"},
        {"name": "x" * 65},
        {"name": "x\n"},
        {"name": 3},
        {"description": 3},
        {"description": "\ud800"},
        {"timeout": 0},
        {"timeout": -1.5},
        {"timeout": math.nan},
        {"timeout": math.inf},
        {"timeout": True},
        {"timeout": "5"},
        {"effect": "maybe"},
        {"effect": None},
        {"parallel": "yes"},
        {"reconcile": 3},
        {"reconcile": generates},
        {"reconcile": generates_later},
        {"reconcile": lambda ctx: Done()},
        {"reconcile": lambda ctx, arguments, more: Done()},
        {"efect": "read"},
    ],
    ids=said,
)
def test_an_option_that_cannot_be(options: Any) -> None:
    def f(x: int) -> None: ...

    with pytest.raises(ToolDefinitionError):
        tool(**options)(f)


def test_a_function_whose_own_name_the_api_refuses() -> None:
    with pytest.raises(ToolDefinitionError, match="name="):

        @tool
        def größe(x: int) -> None: ...

    with pytest.raises(ToolDefinitionError, match="name="):
        tool(lambda: None)


def test_reconcile_may_stand_at_any_effect() -> None:
    @tool(effect="read", reconcile=lambda ctx, arguments: Done())
    def f(x: int) -> None: ...

    assert f.reconcile is not None


class Listed(RootModel[list[int]]):
    pass


class Held(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    it: Opaque


@dataclass
class NoModel:
    x: int


@pytest.mark.parametrize(
    ("model", "function"),
    [
        (Listed, lambda it: it),
        (Held, lambda it: it),
        (NoModel, lambda it: it),
        (3, lambda it: it),
        (Address, lambda: None),
        (Address, lambda one, two: None),
        (Address, lambda *several: None),
        (Address, 3),
    ],
    ids=said,
)
def test_a_model_that_cannot_be_a_tool(model: Any, function: Any) -> None:
    with pytest.raises(ToolDefinitionError):
        Tool.from_model(model, function, name="x")


@pytest.mark.parametrize(
    ("schema", "function"),
    [
        ({"type": "array"}, lambda **given: None),
        ({"type": "object", "oneOf": [{}]}, lambda **given: None),
        ({"type": "object", "properties": []}, lambda **given: None),
        ({"type": "object", "properties": {"x": {"default": object()}}}, lambda **given: None),
        ({"type": "object", "properties": {"x": {"default": math.nan}}}, lambda **given: None),
        ("{}", lambda **given: None),
        ({"properties": {"x": {}}}, lambda: None),
        ({"properties": {"x": {}}}, lambda x, y: None),
        ({"properties": {"x": {}}}, lambda x: None),
        ({"properties": {}, "additionalProperties": True}, lambda: None),
        ({}, 3),
    ],
    ids=said,
)
def test_a_schema_that_cannot_be_a_tool(schema: Any, function: Any) -> None:
    with pytest.raises(ToolDefinitionError):
        Tool.from_schema("x", "", schema, function)


def test_a_schema_argument_with_the_name_of_the_context() -> None:
    def f(ctx: ToolContext, **given: Any) -> None: ...

    with pytest.raises(ToolDefinitionError, match="both called ctx"):
        Tool.from_schema("x", "", {"properties": {"ctx": {}}}, f)


def test_the_decorator_keeps_the_types_of_the_function() -> None:
    @tool(effect="read")
    def f(x: int) -> str:
        return str(x)

    made: DecoratedTool[[int], str] | Tool = f
    said: str = f(3)
    assert (made.name, said) == ("f", "3")
