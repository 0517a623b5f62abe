"""Entering an app's function: whatever it does, the event loop runs on, and a cancellation stays the caller's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from power_loop.threads import in_thread

T = TypeVar("T")

GRACE: Final = 0.1
"""Seconds cancelled work gets to clean up before it is left behind."""


class TooLong(Exception):  # noqa: N818 - a signal, not an error
    """Work took longer than it may. No `TimeoutError`: the work itself may raise one."""


async def entered(call: Callable[[], Any], *, is_async: bool, kind: str, name: str) -> Any:
    """Call once and return what it returns: an async function on the loop, a sync one in a daemon thread of its own.

    What a sync function returns is awaited on the loop if it can be. If this is cancelled, an async function is
    cancelled with it and has its clean-up time, a thread is left behind at once, its outcome dropped.

    Raises:
        CancelledError: the running task was cancelled; never because of what the function awaited.
        Exception: whatever the function raised. What would end more than the call (`SystemExit`, a cancellation from
            within) comes as a `RuntimeError` that has it as its cause.
    """
    try:
        if is_async:
            return await call()
        result = await in_thread(call, kind, name)
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError(f"{name} was cancelled from within") from cancelled
    except SystemExit as left:
        raise RuntimeError(f"{name} tried to end the process (SystemExit: {left})") from left


async def within(limit: float | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in a task of its own; left behind if it goes on after its cancellation.

    Raises:
        TooLong: `limit` seconds went by; None: there is no limit.
        RuntimeError: it cancelled its own task.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        await _given_up(task)
        raise
    if not task.done():
        await _given_up(task)
        raise TooLong
    if task.cancelled():
        raise RuntimeError("it cancelled its own task")
    return task.result()


async def _given_up(task: asyncio.Task[Any]) -> None:
    task.cancel()
    task.add_done_callback(_drop)
    await asyncio.wait({task}, timeout=GRACE)


def _drop(task: asyncio.Task[Any]) -> None:
    """What it raised is nobody's to hear."""
    if not task.cancelled():
        task.exception()
