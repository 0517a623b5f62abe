"""Running one call, exactly once: async functions on the loop, sync ones in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final

from power_loop.threads import in_thread
from power_loop.tools.arguments import Arguments
from power_loop.tools.context import ToolContext
from power_loop.tools.doubt import Done, NotDone, Reconciled, Unknown
from power_loop.tools.tool import Tool
from power_loop.values import cleaned


async def invoke(tool: Tool, arguments: Arguments, context: ToolContext) -> Any:
    """Enter the tool's function once and return what it returns, unchanged.

    A sync function runs in a daemon thread of its own, under a copy of the caller's context variables; what it returns
    is awaited on the loop if it can be. No time limit here. If this is cancelled, `context.cancelled` turns true; an
    async function is cancelled with it and has its clean-up time, a thread is left behind at once, its outcome dropped.

    Raises:
        Exception: whatever the function raised. What would end more than the call (`SystemExit`, a cancellation from
            within) comes as a `RuntimeError` that has it as its cause.
    """
    return await _entered(lambda: tool.call(arguments, context), tool.is_async, tool.name, context)


async def ask_reconcile(tool: Tool, arguments: Arguments, context: ToolContext) -> Reconciled:
    """What the tool's `reconcile` function says of a call of unknown outcome; run as `invoke` runs a tool.

    `context` is the one of the lost run: its attempt and idempotency key. `Unknown` stands for everything that is no
    answer: no such function, an exception, another type. Only cancellation leaves it.
    """
    reconcile = tool.reconcile
    if reconcile is None:
        return Unknown(f"{tool.name} has no reconcile function")
    is_async = inspect.iscoroutinefunction(reconcile)
    try:
        said: object = await _entered(lambda: reconcile(context, dict(arguments.values)), is_async, tool.name, context)
    except Exception as error:  # noqa: BLE001 - code of the app's
        return Unknown(f"the reconcile function of {tool.name} raised {type(error).__name__}: {error}")
    if isinstance(said, Done | NotDone | Unknown):
        return said
    return Unknown(
        f"the reconcile function of {tool.name} returned a {type(said).__name__}, not Done, NotDone or Unknown"
    )


APPROVAL_SECONDS: Final = 30.0
"""How long a tool's rule about approvals may think."""


async def ask_approval(
    tool: Tool, arguments: Arguments, context: ToolContext, *, limit: float = APPROVAL_SECONDS
) -> tuple[bool, str | None]:
    """Whether the tool wants a person's approval of these arguments, and why. A function that fails means yes; so does
    one that takes more than `limit` seconds."""
    rule = tool.approval
    if not callable(rule):
        return bool(rule), rule if isinstance(rule, str) else None
    is_async = inspect.iscoroutinefunction(rule)
    try:
        async with asyncio.timeout(limit) as waiting:
            said: object = await _entered(lambda: rule(dict(arguments.values)), is_async, tool.name, context)
    except Exception as error:  # noqa: BLE001 - code of the app's
        if waiting.expired():
            return True, f"whether {tool.name} needs an approval was not told within {limit:g} s"
        return True, cleaned(
            f"whether {tool.name} needs an approval could not be told: {type(error).__name__}: {error}"
        )
    return bool(said), cleaned(said) if isinstance(said, str) and said.strip() else None


async def _entered(call: Callable[[], Any], is_async: bool, name: str, context: ToolContext) -> Any:
    try:
        if is_async:
            return await call()
        result = await in_thread(call, "tool", name)
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as cancelled:
        if _is_ours():
            context.cancel.set()
            raise
        raise RuntimeError(f"{name} was cancelled from within") from cancelled
    except SystemExit as left:
        raise RuntimeError(f"{name} tried to end the process (SystemExit: {left})") from left


def _is_ours() -> bool:
    """Whether somebody cancelled this task. Else the function awaited something that was cancelled: its failure."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
