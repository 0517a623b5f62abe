"""A set of tools under their names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from power_loop.errors import ToolDefinitionError
from power_loop.tools import Tool, ToolRegistry, tool
from tests.tools.names import said

pytestmark = pytest.mark.acceptance("H1")


@tool
def b(x: int) -> None: ...


@tool
def a() -> None: ...


def test_tools_in_the_order_in_which_they_came() -> None:
    registry = ToolRegistry([b, a])
    assert registry.names == ("b", "a")
    assert list(registry) == [b, a]
    assert len(registry) == 2
    assert registry.get("a") is a
    assert registry.get("c") is None
    assert "a" in registry
    assert a in registry
    assert "c" not in registry
    assert 3 not in registry
    assert len(ToolRegistry()) == 0


def test_add_stands_above_the_decorator() -> None:
    registry = ToolRegistry()

    @registry.add
    @tool(effect="read")
    def c(x: int) -> int:
        return x

    assert c(3) == 3
    assert registry.get("c") is c


def test_specs_are_made_once_until_something_changes() -> None:
    registry = ToolRegistry([b])
    specs = registry.specs
    assert specs == (b.spec,)
    assert registry.specs is specs
    registry.add(a)
    assert [json.loads(one)["function"]["name"] for one in registry.specs] == ["b", "a"]
    assert registry.remove("b") is b
    assert registry.specs == (a.spec,)
    assert registry.names == ("a",)


def test_it_may_change_while_somebody_goes_through_it() -> None:
    registry = ToolRegistry([b, a])
    for one in registry:
        registry.remove(one.name)
    assert len(registry) == 0


def test_of() -> None:
    registry = ToolRegistry([a])
    assert ToolRegistry.of(registry) is registry
    assert ToolRegistry.of([a, b]).names == ("a", "b")
    assert ToolRegistry.of(one for one in (a, b)).names == ("a", "b")
    assert len(ToolRegistry.of(None)) == 0


def plain(x: int) -> None: ...


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([a, a], "a tool of this name is registered"),
        ([a, tool(plain, name="a")], "a tool of this name is registered"),
        ([plain], "decorate the function with @tool"),
        ([len], "decorate the function with @tool"),
        (["a"], "no tool"),
        ([None], "no tool"),
        ("ab", "no tool"),
        (a, "as a list"),
        (plain, "as a list"),
        (3, "as a list"),
    ],
    ids=said,
)
def test_what_cannot_be_registered(tools: Any, words: str) -> None:
    for make in (ToolRegistry, ToolRegistry.of):
        with pytest.raises(ToolDefinitionError, match=words) as raised:
            make(tools)
        assert raised.value.code == "tool.invalid"


def test_a_refused_tool_changes_nothing() -> None:
    registry = ToolRegistry([a])
    other: Tool = tool(plain, name="a")
    with pytest.raises(ToolDefinitionError):
        registry.add(other)
    with pytest.raises(ToolDefinitionError, match="there are a"):
        registry.remove("b")
    assert list(registry) == [a]
