"""One call of an app's own function in a thread of its own, awaited on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Returned(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


async def in_thread(call: Callable[[], T], kind: str, name: str) -> T:
    """The call's result, from a daemon thread started for it, under a copy of the caller's context variables.

    A thread of our own, because the workers of asyncio and anyio are no daemons: one function that never returns would
    keep the interpreter from exiting, and enough of them would use up the pool. Starting one costs some 50 us. If this
    is cancelled, the thread is left behind at once and its outcome dropped.

    Args:
        kind: What is run: `tool`, `watcher`. It names the thread together with `name`.

    Raises:
        Exception: whatever the call raised; what would end more than the call comes as a `RuntimeError` that has it as
            its cause.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[_Returned[T] | _Raised] = loop.create_future()

    def deliver(outcome: _Returned[T] | _Raised) -> None:
        if not arrived.done():
            arrived.set_result(outcome)
        elif isinstance(outcome, _Returned) and inspect.iscoroutine(outcome.value):
            outcome.value.close()

    def work() -> None:
        try:
            outcome: _Returned[T] | _Raised = _Returned(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            outcome = _Raised(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name=f"{kind} {name}", daemon=True).start()
    match await arrived:
        case _Returned(value):
            return value
        case _Raised(error) if isinstance(error, Exception):
            raise error
        case _Raised(error):
            raise RuntimeError(f"{name} raised {type(error).__name__}: {error}") from error
