"""Cancels a task at the N-th suspension of an event loop: of any task in it, in the order they happen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class Suspensions:
    """Use as a task factory; from `arm` on, suspensions are counted, and the victim is cancelled at the N-th."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._victim: asyncio.Task[Any] | None = None
        self.struck = False

    def __enter__(self) -> Suspensions:
        asyncio.get_running_loop().set_task_factory(self._task)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().set_task_factory(None)

    def arm(self, victim: asyncio.Task[Any]) -> None:
        self._victim = victim

    def disarm(self) -> None:
        self._victim = None

    def passed(self) -> None:
        if self._victim is None or self._victim.done() or self.struck:
            return
        self._left -= 1
        if self._left == 0:
            self.struck = True
            self._victim.cancel()

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coroutine, self), loop=loop, **more)


class _Counted(Coroutine[Any, Any, Any]):
    def __init__(self, inner: Coroutine[Any, Any, Any], tally: Suspensions) -> None:
        self._inner, self._tally = inner, tally

    def send(self, value: Any) -> Any:
        suspended_on = self._inner.send(value)
        self._tally.passed()
        return suspended_on

    def throw(self, *error: Any) -> Any:
        suspended_on = self._inner.throw(*error)
        self._tally.passed()
        return suspended_on

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()
