"""What a function asks for beside its arguments, and tools from models and schemas."""

from __future__ import annotations

import json
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field

from power_loop.tools import Tool, ToolContext, tool
from power_loop.values import Effect

pytestmark = pytest.mark.acceptance("H1")


class Address(BaseModel):
    """Where somebody lives."""

    title: str = Field(description="the name on the door")
    number: int = Field(gt=0)


class Node(BaseModel):
    kids: list[Node] = []


def parameters(made: Tool) -> dict[str, Any]:
    assert made.parameters == json.loads(made.spec)["function"]["parameters"]
    return made.parameters


@tool
def at_module_level(x: int, ctx: ToolContext) -> None: ...


def test_the_context_is_no_argument() -> None:
    class Local(ToolContext):
        pass

    @tool
    def optional(x: int, ctx: ToolContext | None = None) -> None: ...

    @tool
    def old_optional(ctx: Optional[ToolContext], x: int) -> None: ...  # noqa: UP045

    @tool
    def annotated(x: int, *, ctx: Annotated[ToolContext, "note"]) -> None: ...

    @tool
    def local(x: int, ctx: Local) -> None: ...

    @tool
    def positional(ctx: ToolContext, /, x: int) -> None: ...

    for made in (at_module_level, optional, old_optional, annotated, local, positional):
        assert list(parameters(made)["properties"]) == ["x"], made
        assert made.context == "ctx"


def test_annotations_as_text_see_the_scopes_around_the_function() -> None:
    class Order(BaseModel):
        number: int

    def within() -> Tool:
        class Line(BaseModel):
            sku: str

        @tool
        def f(order: Order, lines: list[Line]) -> None: ...

        return f

    accepted = within().arguments('{"order": {"number": 1}, "lines": [{"sku": "a"}]}').passed
    assert accepted["order"] == Order(number=1)
    assert accepted["lines"][0].sku == "a"


def test_names_of_unrelated_callers_are_not_seen() -> None:
    str = int

    def elsewhere(make: Any) -> Any:
        int = str  # noqa: F841
        return make()

    def make() -> Tool:
        @tool
        def f(x: int) -> None: ...

        return f

    assert elsewhere(make).parameters["properties"]["x"] == {"type": "integer"}


def test_from_model() -> None:
    def send(address: Address, ctx: ToolContext) -> str:
        return f"{address.title} {ctx.call_id}"

    made = Tool.from_model(Address, send, effect="idempotent", name="post")
    assert (made.name, made.description, made.effect) == ("post", "Where somebody lives.", Effect.IDEMPOTENT)
    assert list(parameters(made)["properties"]) == ["title", "number"]
    assert "description" not in parameters(made)
    assert parameters(made)["additionalProperties"] is False
    accepted = made.arguments('{"title": "t", "number": 1}')
    assert accepted.passed["address"] == Address(title="t", number=1)
    assert type(accepted.passed["address"]) is Address
    assert accepted.values == {"title": "t", "number": 1}


def test_from_a_recursive_model() -> None:
    made = Tool.from_model(Node, lambda node: node, name="grow")
    assert parameters(made)["type"] == "object"
    assert made.description == ""
    assert made.arguments('{"kids": [{"kids": []}]}').passed["node"] == Node(kids=[Node()])


def test_a_models_own_extra_is_kept() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        x: int

    made = Tool.from_model(Open, lambda it: it, name="open")
    assert made.arguments('{"x": 1, "y": 2}').passed["it"].y == 2
    assert parameters(made)["additionalProperties"] is True


def test_from_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"a-b": {"type": "array"}, "n": {"type": ["integer", "null"]}},
        "required": ["a-b"],
    }
    made = Tool.from_schema("x", "Says.", schema, lambda **given: given, effect="read")
    assert parameters(made) == {
        "type": "object",
        "properties": {"a-b": {"type": "array", "items": {}}, "n": {"type": ["integer", "null"]}},
        "required": ["a-b"],
        "additionalProperties": False,
    }
    assert made.arguments('{"a-b": [1]}').passed == {"a-b": [1]}
    assert "items" not in schema["properties"]["a-b"]  # type: ignore[index]


def test_from_schema_with_a_context_beside_any_argument() -> None:
    def call(ctx: ToolContext, /, **given: Any) -> Any:
        return given

    made = Tool.from_schema("x", "", {"type": "object", "properties": {"ctx": {"type": "string"}}}, call)
    context = ToolContext(session_id="s", call_id="c", idempotency_key="k")
    assert made.call(made.arguments('{"ctx": "mine"}'), context) == {"ctx": "mine"}
