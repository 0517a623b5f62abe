"""What can be said of a tool beyond its function, and the rules it keeps."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Final, Literal, TypedDict

from power_loop.errors import ToolDefinitionError
from power_loop.tools.doubt import Reconcile
from power_loop.transcript.shorten import Shortener, shortener_of
from power_loop.values import Effect

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class RunOptions(TypedDict, total=False):
    """How a tool runs, and what becomes of it after a crash."""

    effect: Effect | Literal["read", "idempotent", "once"]
    """What repeating it would do; `once` unless said."""
    timeout: float | None
    """Seconds after which the call is given up, with that as its result; None for no limit."""
    parallel: bool | None
    """Whether it may run beside other calls of the same answer. Unless said: `read` and `idempotent` tools may, `once`
    tools run alone, one after the other, so that a crash leaves at most one call of unknown outcome."""
    reconcile: Reconcile | None
    """Asked after a crash whether a call of unknown outcome happened."""
    shorten: Shortener | str | None
    """Makes what the model is shown of a long result: a word or an object, as `AgentLoopConfig.result_shortener`, which
    holds for tools that do not say."""
    result_limit: int | None
    """Characters of its result that are shown at once; `AgentLoopConfig.result_limit` unless said."""


class ToolOptions(RunOptions, total=False):
    name: str | None
    """Its name for the model; the function's unless said."""
    description: str | None
    """What the model is told of it; from the docstring unless said."""


def checked_options(tool: str, options: Mapping[str, object]) -> None:
    names = inspect.get_annotations(RunOptions) | inspect.get_annotations(ToolOptions)
    for name in options:
        if name not in names:
            raise ToolDefinitionError(tool, f"there is no option {name!r}", f"there are {', '.join(names)}")


def checked_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ToolDefinitionError(
            repr(name), "the API takes names of 1 to 64 letters, digits, '_' and '-' (ASCII)", "give one with name=..."
        )


def checked_effect(tool: str, effect: object) -> Effect:
    try:
        return Effect(effect)  # type: ignore[arg-type]
    except ValueError:
        raise ToolDefinitionError(tool, f"its effect is {effect!r}", f"give one of {', '.join(Effect)}") from None


def checked_parallel(tool: str, parallel: object, effect: Effect) -> bool:
    if parallel is None:
        return effect is not Effect.ONCE
    if not isinstance(parallel, bool):
        raise ToolDefinitionError(tool, f"parallel is {parallel!r}", "give True, False or None")
    return parallel


def checked_timeout(tool: str, timeout: object) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise ToolDefinitionError(tool, f"its timeout is {timeout!r}", "give seconds above zero, or None for no limit")


def checked_shorten(tool: str, shorten: object) -> Shortener | None:
    try:
        return None if shorten is None else shortener_of(shorten)
    except ValueError as error:
        raise ToolDefinitionError(tool, "its shorten is none", str(error)) from None


def checked_result_limit(tool: str, limit: object) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ToolDefinitionError(tool, f"its result_limit is {limit!r}", "give characters, 1 or more, or None")


def checked_reconcile(tool: str, function: object) -> None:
    """Checked here, because the next time anybody looks at it is after a crash."""
    if function is None:
        return
    way_out = "give a function of (context, arguments) that returns Done, NotDone or Unknown"
    if not callable(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ToolDefinitionError(tool, f"its reconcile {function!r} is no function", way_out)
    try:
        inspect.signature(function).bind(None, {})
    except TypeError as error:
        raise ToolDefinitionError(tool, f"its reconcile function cannot be called: {error}", way_out) from None
    except ValueError:
        return  # a builtin, which does not tell its signature
