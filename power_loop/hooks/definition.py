"""Whether a function can be a hook: seen when it is registered, not in the middle of somebody's turn."""

from __future__ import annotations

import asyncio
import inspect
import math
import types
import typing
from collections.abc import Awaitable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Never, NoReturn, TypeAlias

from power_loop.errors import HookDefinitionError
from power_loop.hooks import points, verdicts, views
from power_loop.hooks.points import Point
from power_loop.values import cleaned, shown

AnyPoint: TypeAlias = Point[Any, Any]

TIMEOUT: Final = 30.0
"""Seconds a hook may take unless said."""

_AWAITED: Final = (Awaitable, Coroutine, asyncio.Future, asyncio.Task)
_NO_VERDICT: Final = (None, type(None), Any, NoReturn, Never)
_OURS: Final = {name: value for module in (verdicts, views, points) for name, value in vars(module).items()}
"""What an annotation may name without importing it: often it is imported for type checkers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A function that was found fit for its point."""

    name: str
    guards: bool
    """Else it observes."""
    function: Any
    is_async: bool
    hears_verdict: bool
    """It takes the verdict as its second argument."""
    order: int
    timeout: float | None

    @property
    def kind(self) -> str:
        return "guard" if self.guards else "observer"


def defined(
    point: object, function: object, *, guards: bool, order: object, timeout: object, name: object
) -> tuple[AnyPoint, Hook]:
    """The function as a hook of the point.

    Raises:
        HookDefinitionError: it cannot be one; the message says what to change.
    """
    called = _name(function, name)
    if not isinstance(point, Point):
        raise HookDefinitionError(called, f"{shown(point)} is no point", "give a constant of power_loop.hooks")
    if not callable(function):
        raise HookDefinitionError(called, f"a {type(function).__name__} is no function", "give a function of the view")
    if isinstance(order, bool) or not isinstance(order, int):
        raise HookDefinitionError(called, f"its order is {shown(order)}", "give a whole number; the lowest is first")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf
    ):
        raise HookDefinitionError(
            called, f"its timeout is {shown(timeout)}", "give seconds above zero, or None for no limit"
        )
    entered = _entered(function)
    if inspect.isgeneratorfunction(entered) or inspect.isasyncgenfunction(entered):
        raise HookDefinitionError(called, "it is a generator", "return one verdict")
    hears_verdict = not guards and _takes(function, 2)
    if not hears_verdict and not _takes(function, 1):
        also = "" if guards else ", or the view and the verdict"
        raise HookDefinitionError(
            called, "it cannot be called with one argument", f"take the {point.view.__name__}{also}"
        )
    _check_returns(called, entered, point, guards=guards)
    return point, Hook(
        name=called,
        guards=guards,
        function=function,
        is_async=inspect.iscoroutinefunction(entered),
        hears_verdict=hears_verdict,
        order=order,
        timeout=timeout,
    )


def _name(function: object, name: object) -> str:
    if name is None:
        return cleaned(str(getattr(function, "__name__", None) or type(function).__name__))[:80]
    if not isinstance(name, str) or not name.strip():
        raise HookDefinitionError(shown(function), f"its name is {shown(name)}", "give a text, or leave it out")
    return cleaned(name)[:80]


def _entered(function: Any) -> Any:
    """What runs when it is called: under a partial, or the `__call__` of an object."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isfunction(function) or inspect.ismethod(function) or inspect.isclass(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004 - what it is, not whether it is there


def _takes(function: Any, count: int) -> bool:
    """Whether it can be called with so many arguments in a row, and no fewer were meant by a default."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin, which does not tell
        return count == 1
    try:
        bound = signature.bind(*range(count))
    except TypeError:
        return False
    given = [signature.parameters[name] for name in bound.arguments]
    return count == 1 or all(one.kind is one.VAR_POSITIONAL or one.default is one.empty for one in given)


def _check_returns(hook: str, function: Any, point: AnyPoint, *, guards: bool) -> None:
    allowed = point.verdicts if guards else ()
    for found in _named(_returned(hook, function)):
        if found in allowed or found in _NO_VERDICT or (not guards and not _is_verdict(found)):
            continue
        word = getattr(found, "__name__", None) or shown(found)
        if not guards:
            raise HookDefinitionError(
                hook, f"it may return {word}, and an observer changes nothing", "register it with guard()"
            )
        takes = ", ".join(one.__name__ for one in point.verdicts)
        raise HookDefinitionError(hook, f"it may return {word}, which {point} does not take", f"there are {takes}")


def _returned(hook: str, function: Any) -> Any:
    """Its return annotation, evaluated; Any where it has none."""
    if inspect.isclass(function):
        return function
    inner = inspect.unwrap(function)
    annotation = getattr(inner, "__annotations__", {}).get("return", Any)
    holder = types.SimpleNamespace(__annotations__={"return": annotation})
    seen = getattr(getattr(inner, "__func__", inner), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=dict(_OURS), localns=seen)["return"]
    except Exception as error:  # noqa: BLE001 - an annotation is any expression
        raise HookDefinitionError(
            hook,
            f"its return annotation {shown(annotation)} cannot be evaluated ({type(error).__name__}: "
            f"{cleaned(str(error))})",
            "define what it names at the top of its module, not only for type checkers",
        ) from None


def _named(annotation: Any) -> Iterator[Any]:
    """What an annotation names: the members of unions, and what comes of awaiting."""
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        for one in typing.get_args(annotation):
            yield from _named(one)
    elif origin is Annotated:
        yield from _named(typing.get_args(annotation)[0])
    elif origin in _AWAITED:
        yield from _named(typing.get_args(annotation)[-1])
    else:
        yield annotation


def _is_verdict(found: object) -> bool:
    return found in typing.get_args(verdicts.Verdict)
