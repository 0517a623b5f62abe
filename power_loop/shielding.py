"""Waiting to the end for what must not be left half-known: a commit that is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def uncancelled(work: Awaitable[T]) -> T:
    """The result of `work`, waited for even if the caller is cancelled meanwhile; the cancellation follows it.

    `work` itself is never cancelled. When a cancellation came in between, the caller's task is cancelled again as soon
    as `work` is done, so that its next await raises: nothing is swallowed, and the result is not lost.
    """
    future = asyncio.ensure_future(work)
    came: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            if future.cancelled():
                raise
            came = error
        except BaseException:  # noqa: BLE001 - it leaves through `future.result()`
            break
    if came is not None:
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        task.cancel(*came.args)
    return future.result()
