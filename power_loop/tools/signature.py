"""What a function says of itself: its parameters with their annotations, and which of them is for the context."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from power_loop.errors import ToolDefinitionError
from power_loop.tools.context import ToolContext

REQUIRED: Final = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter a caller fills in. `annotation` is evaluated; `problem` says why it is not, if it is not."""

    name: str
    annotation: Any
    default: Any
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    parameters: tuple[Parameter, ...]
    context: str | None
    """The parameter annotated `ToolContext`, which no caller fills in."""
    context_first: bool
    """It is positional-only."""
    collects: bool
    """The function takes further keyword arguments, as `**name`."""


def name_of(function: object) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def signature_of(tool: str, function: Callable[..., Any], *, collecting: bool = False) -> Signature:
    """The signature of a function, or of a bound method.

    `collecting` lets `**name` pass, for tools whose schema does not come from the signature.

    Raises:
        ToolDefinitionError: it is no function, a generator, or has parameters that cannot be filled in by name.
    """
    _is_plain_function(tool, function)
    seen = _namespace(function)
    parameters: list[Parameter] = []
    contexts: list[inspect.Parameter] = []
    collects = False
    for one in inspect.signature(function).parameters.values():
        found = _parameter(one, seen)
        if found.problem is None and _is_context(found.annotation):
            contexts.append(one)
        elif one.kind is one.VAR_KEYWORD and collecting:
            collects = True
        elif one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise ToolDefinitionError(
                tool, f"parameter {one} takes any arguments", "a model needs each argument by name and type"
            )
        elif one.kind is one.POSITIONAL_ONLY:
            raise ToolDefinitionError(
                tool, f"parameter {one.name} is positional-only", "models name their arguments; drop the '/'"
            )
        else:
            parameters.append(found)
    if len(contexts) > 1:
        raise ToolDefinitionError(tool, "two parameters are a ToolContext", "one is enough")
    context = contexts[0] if contexts else None
    return Signature(
        tuple(parameters),
        context.name if context else None,
        context is not None and context.kind is context.POSITIONAL_ONLY,
        collects,
    )


def _is_plain_function(tool: str, function: object) -> None:
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise ToolDefinitionError(
            tool,
            f"a {type(function).__name__} is no function",
            "put it into a `def` with typed parameters and decorate that",
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ToolDefinitionError(
            tool, "it is a generator", "return one result; tell of the progress with ToolContext.emit()"
        )


def _parameter(one: inspect.Parameter, seen: Mapping[str, Any]) -> Parameter:
    if one.annotation is REQUIRED:
        return Parameter(
            one.name, None, one.default, "has no type annotation; write one, such as `" + one.name + ": str`"
        )
    try:
        holder = types.SimpleNamespace(__annotations__={one.name: one.annotation})
        hints = typing.get_type_hints(holder, globalns={}, localns=seen, include_extras=True)
    except NameError as error:
        problem = (
            f"has the annotation {one.annotation!r}: {error}; define it above the tool, not only for type checkers"
        )
        return Parameter(one.name, None, one.default, problem)
    except Exception as error:  # noqa: BLE001 - an annotation is any expression
        return Parameter(one.name, None, one.default, f"has the annotation {one.annotation!r}: {error}; write a type")
    return Parameter(one.name, hints[one.name], one.default)


def _namespace(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What an annotation written as text can see: the scopes around the function, from the inside out.

    Enclosing functions are looked up among the running ones, by code and module, because a closure keeps only the names
    its body uses.
    """
    inner = inspect.unwrap(function)
    module: dict[str, Any] = getattr(inner, "__globals__", {})
    scopes: list[Mapping[str, Any]] = []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is module and inner.__qualname__.startswith(f"{frame.f_code.co_qualname}."):
            scopes.append(frame.f_locals)
        frame = frame.f_back
    # ToolContext last: it is often imported for type checkers only, and there is no other it could be.
    return ChainMap(*(dict(one) for one in scopes), module, {"ToolContext": ToolContext})


def _is_context(annotation: object) -> bool:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _is_context(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        return any(_is_context(one) for one in typing.get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, ToolContext)
