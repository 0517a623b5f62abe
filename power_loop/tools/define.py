"""`@tool`: the way most tools are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from power_loop.errors import ToolDefinitionError
from power_loop.tools.build import by_parameters
from power_loop.tools.describe import described
from power_loop.tools.options import ToolOptions
from power_loop.tools.signature import name_of
from power_loop.tools.tool import DecoratedTool, Tool

P = ParamSpec("P")
R = TypeVar("R")


@overload
def tool(function: Callable[P, R], /, **options: Unpack[ToolOptions]) -> DecoratedTool[P, R]: ...


@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[P, R]], DecoratedTool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]) -> Any:
    """Make a tool from a typed function, sync or async: `@tool`, `@tool(effect="read", timeout=10)`, `tool(o.method)`.

    The schema comes from the annotations through pydantic (defaults, `Annotated` with `Field`, literals, enums, unions,
    models), the descriptions from the docstring (google, numpy, rest), a `Field` or a text in `Annotated`. A parameter
    annotated `ToolContext` is filled in by the loop and no model sees it. The tool can still be called as the function.

    `effect` says what repeating the tool would do: "read" changes nothing, "idempotent" may be repeated under the same
    idempotency key, "once" (the default) may not. `parallel` is True for the first two and False for `once` tools
    unless said: they run one after the other, so that a crash leaves at most one effect in doubt. `ToolOptions` has
    the rest.

    Raises:
        ToolDefinitionError: the function cannot be a tool as it is; the message says what to change.
    """
    if function is None:
        return lambda decorated: _decorated(decorated, options)
    return _decorated(function, options)


def _decorated(function: Callable[P, R], options: ToolOptions) -> DecoratedTool[P, R]:
    name, description = options.get("name"), options.get("description")
    if name is None:
        name = name_of(function)
    if isinstance(function, Tool):
        raise ToolDefinitionError(name, "it is a tool already", "decorate it once")
    words = described(function)
    plan = by_parameters(name, function, words.parameters)
    return DecoratedTool._planned(name, words.text if description is None else description, plan, function, options)
