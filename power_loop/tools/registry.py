"""A set of tools, each under its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from power_loop.errors import ToolDefinitionError
from power_loop.tools.signature import name_of
from power_loop.tools.tool import Tool

T = TypeVar("T", bound=Tool)


class ToolRegistry:
    """Tools in the order in which they were added; no two share a name.

    Raises:
        ToolDefinitionError: something is no tool, or a name is taken.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._specs: tuple[str, ...] | None = None
        if isinstance(tools, Tool) or not isinstance(tools, Iterable):
            raise ToolDefinitionError(name_of(tools), "tools come as a list", "write tools=[...]")
        for tool in tools:
            self.add(tool)

    @classmethod
    def of(cls, tools: Iterable[Tool] | ToolRegistry | None) -> ToolRegistry:
        """The registry itself, or a new one of these tools, or an empty one."""
        if isinstance(tools, ToolRegistry):
            return tools
        return cls(() if tools is None else tools)

    def add(self, tool: T) -> T:
        """Add a tool and return it, so that `@registry.add` can stand above `@tool`.

        Raises:
            ToolDefinitionError: it is no tool, or its name is taken; the registry is as before.
        """
        if not isinstance(tool, Tool):
            raise ToolDefinitionError(
                name_of(tool),
                f"a {type(tool).__name__} is no tool",
                "decorate the function with @tool, or use Tool.from_schema",
            )
        if tool.name in self._tools:
            raise ToolDefinitionError(
                tool.name, "a tool of this name is registered", "give one of them another: @tool(name=...)"
            )
        self._tools[tool.name] = tool
        self._specs = None
        return tool

    def remove(self, name: str) -> Tool:
        """Take a tool out and return it.

        Raises:
            ToolDefinitionError: there is none of this name.
        """
        if name not in self._tools:
            raise ToolDefinitionError(repr(name), "is not registered", f"there are {', '.join(self._tools) or 'none'}")
        self._specs = None
        return self._tools.pop(name)

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    @property
    def specs(self) -> tuple[str, ...]:
        """JSON texts for `ChatRequest.tools`; the same object until the registry changes."""
        if self._specs is None:
            self._specs = tuple(tool.spec for tool in self)
        return self._specs

    def __iter__(self) -> Iterator[Tool]:
        return iter(tuple(self._tools.values()))

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, tool: object) -> bool:
        """Whether a tool, or one of this name, is registered."""
        return tool in self._tools if isinstance(tool, str) else tool in self._tools.values()

    def __repr__(self) -> str:
        return f"ToolRegistry({', '.join(self._tools)})"
