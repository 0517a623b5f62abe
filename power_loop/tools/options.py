"""What can be said of a tool beyond its function, and the rules it keeps."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypedDict

from power_loop.errors import ToolDefinitionError
from power_loop.tools.doubt import Reconcile
from power_loop.transcript.shorten import Shortener, shortener_of
from power_loop.values import Effect

Approval: TypeAlias = bool | str | Callable[[dict[str, Any]], object]
"""Whether a call needs a person's approval, and why."""

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

    approval: Approval
    """Whether a person must approve a call before it runs: True, or why in words; or a function of the arguments (a
    dict), sync or async, that says so for each call. One that fails means yes."""
    external: bool
    """The host gives the result: the function is never entered, the turn ends `waiting_for_input`, and
    `submit_results` goes on. Such calls wait beside one another unless `parallel=False`."""
    check_result: Callable[[dict[str, Any], Any], object] | None
    """Of an external tool: given the arguments and the host's result, gives what the model is shown of it, or raises
    `ValueError` to refuse it."""
    ends_turn: bool
    """A call that succeeds ends the turn, and what it gives is the turn's output. It runs after all others of its
    answer."""


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


def checked_parallel(tool: str, parallel: object, effect: Effect, *, external: bool = False) -> bool:
    if parallel is None:
        return external or effect is not Effect.ONCE
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


def checked_approval(tool: str, approval: object) -> None:
    if isinstance(approval, bool) or (isinstance(approval, str) and approval.strip()):
        return
    way_out = "give True, the reason in words, or a function of the arguments that says so"
    if not callable(approval):
        raise ToolDefinitionError(tool, f"its approval is {approval!r}", way_out)
    try:
        inspect.signature(approval).bind({})
    except TypeError as error:
        raise ToolDefinitionError(tool, f"its approval function cannot be called: {error}", way_out) from None
    except ValueError:
        return  # a builtin, which does not tell its signature


def checked_external(tool: str, external: object, options: Mapping[str, object]) -> None:
    if not isinstance(external, bool):
        raise ToolDefinitionError(tool, f"external is {external!r}", "give True or False")
    if options.get("check_result") is not None and not (external and callable(options["check_result"])):
        raise ToolDefinitionError(tool, "its check_result checks nothing", "give a function, to an external tool")
    given = [name for name in ("timeout", "reconcile", "ends_turn") if options.get(name) is not None]
    if external and given:
        raise ToolDefinitionError(
            tool, f"it is external and has a {given[0]}", "leave that out: its function never runs here"
        )


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
