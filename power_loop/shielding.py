"""Waiting to the end for what must not be left half-known: a commit that is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """What becomes of something under way, brought by whoever carries it out; one waits for it, cancelled or not.

    No task and no shield: every commit is waited for through one of these.
    """

    __slots__ = ("_failure", "_told", "_value", "_waiters", "known")

    def __init__(self, told: Callable[[BaseException | None], None] | None = None) -> None:
        """`told` hears first, with what it failed with, whether anybody waits or not."""
        self.known = False
        self._told = told
        self._waiters: list[asyncio.Future[None]] = []
        self._failure: BaseException | None = None
        self._value: T

    def bring(self, value: T) -> None:
        self._value = value
        self._tell(None)

    def fail(self, failure: BaseException) -> None:
        self._tell(failure)

    async def wait(self) -> T:
        """The value, or what it failed with.

        A cancellation of whoever waits is held back until the outcome is known, and follows it: see `uncancelled`.
        """
        came: asyncio.CancelledError | None = None
        while not self.known:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError as error:
                came = error
        if came is not None:
            _cancel_again(came)
        if self._failure is not None:
            raise self._failure
        return self._value

    def _tell(self, failure: BaseException | None) -> None:
        self.known, self._failure = True, failure
        if self._told is not None:
            self._told(failure)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = []


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
        _cancel_again(came)
    return future.result()


def _cancel_again(came: asyncio.CancelledError) -> None:
    """Have the running task's next await raise a cancellation that had to wait."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel(*came.args)
