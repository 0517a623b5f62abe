"""One way to stop a turn, whoever wants it: a cancelled caller, a stop event, another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from power_loop.values import Status

T = TypeVar("T")

GRACE: Final = 0.1
"""Seconds cancelled work gets to clean up before it is left behind."""


@dataclass(frozen=True, slots=True)
class Stop:
    status: Status
    reason: str


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Inside the loop only: somebody stopped the turn."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


class StopSignal:
    """The first reason to stop; later ones do not count. One turn waits on it, at one place at a time."""

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self._wake: Callable[[object], None] | None = None

    def request(self, status: Status, reason: str) -> None:
        if self._stop is None:
            self._stop = Stop(status, reason)
            if self._wake is not None:
                self._wake(None)

    @property
    def requested(self) -> bool:
        return self._stop is not None

    def check(self) -> None:
        """Raises `Stopped` if somebody wants that."""
        if self._stop is not None:
            raise Stopped(self._stop)

    async def first(self, tasks: Iterable[asyncio.Task[Any]], timeout: float | None = None) -> list[asyncio.Task[Any]]:
        """Wait until at least one of the tasks is done, or for `timeout` seconds; those that are, in the order given.

        What is done counts, also when somebody wants to stop by now: a result that is there is never thrown away.

        Raises:
            Stopped: none is done and somebody wants to stop; the tasks are the caller's to cancel. A cancellation of
                the turn's own task counts as such a wish.
        """
        waiting = list(tasks)
        if not any(task.done() for task in waiting):
            await self._woken(waiting, timeout)
        done = [task for task in waiting if task.done()]
        if not done:
            self.check()
        return done

    async def _woken(self, tasks: Sequence[asyncio.Task[Any]], timeout: float | None) -> None:
        """Wait until one of the tasks is done, somebody wants to stop, or the time is up.

        What `asyncio.wait` does for sets of any futures, at a third of its cost: a turn waits here for all it does.
        """
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_: object) -> None:
            if not woken.done():
                woken.set_result(None)

        if self._stop is not None:
            # Not at once: a call that is started on disk enters its function, which may then be cut off. One that is
            # cancelled before that would be in doubt without ever having run.
            loop.call_soon(wake, None)
        timer = None if timeout is None else loop.call_later(timeout, wake, None)
        for task in tasks:
            task.add_done_callback(wake)
        self._wake = wake
        try:
            await woken
        except asyncio.CancelledError:
            self.request(Status.CANCELLED, "the task was cancelled")
        finally:
            self._wake = None
            for task in tasks:
                task.remove_done_callback(wake)
            if timer is not None:
                timer.cancel()

    async def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """The result of `work`.

        Raises:
            Stopped: somebody wants to stop; `work` is cancelled.
            TimeoutError: `timeout` seconds went by; `work` is cancelled, and left behind if it ignores that.
        """
        task = asyncio.create_task(work)
        try:
            if not await self.first([task], timeout):
                raise TimeoutError
        except (Stopped, TimeoutError):
            await give_up([task])
            raise
        return task.result()


async def give_up(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait a moment for them; whoever ignores that is left behind, its outcome dropped."""
    given_up = list(tasks)
    for task in given_up:
        task.cancel()
        task.add_done_callback(_drop)  # of one that is done already too: what it raised is nobody's to hear
    waiting = {task for task in given_up if not task.done()}
    if waiting:
        try:
            await asyncio.wait(waiting, timeout=GRACE)
        except asyncio.CancelledError:
            return  # we are being torn down ourselves: there is no more time to give


def _drop(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
