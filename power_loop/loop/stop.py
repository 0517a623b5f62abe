"""One way to stop a turn, whoever wants it: a cancelled caller, a stop event, another process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
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
    """The first reason to stop; later ones do not count."""

    def __init__(self) -> None:
        self._stop: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

    def request(self, status: Status, reason: str) -> None:
        if not self._stop.done():
            self._stop.set_result(Stop(status, reason))

    @property
    def requested(self) -> bool:
        return self._stop.done()

    def check(self) -> None:
        """Raises `Stopped` if somebody wants that."""
        if self._stop.done():
            raise Stopped(self._stop.result())

    async def first(self, tasks: Iterable[asyncio.Task[Any]], timeout: float | None = None) -> list[asyncio.Task[Any]]:
        """Wait until at least one of the tasks is done, or for `timeout` seconds; those that are, in the order given.

        What is done counts, also when somebody wants to stop by now: a result that is there is never thrown away.

        Raises:
            Stopped: none is done and somebody wants to stop; the tasks are the caller's to cancel. A cancellation of
                the turn's own task counts as such a wish.
        """
        waiting = list(tasks)
        try:
            await asyncio.wait({*waiting, self._stop}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.request(Status.CANCELLED, "the task was cancelled")
        done = [task for task in waiting if task.done()]
        if not done:
            self.check()
        return done

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
