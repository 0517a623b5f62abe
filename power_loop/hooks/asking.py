"""Running one hook, and what its failure says."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass
from typing import Any, Final

from power_loop.hooks.definition import Hook
from power_loop.hooks.entering import TooLong, entered, within
from power_loop.values import cleaned

LOG: Final = logging.getLogger("power_loop.hooks")

MAX_REASON: Final = 500
"""Of what an exception of the app's says, how many characters go into reasons and logs."""
_MAX_TRACEBACK: Final = 4_000


@dataclass(frozen=True, slots=True)
class Problem:
    """A hook that failed: raised, took too long, or said something that is no answer."""

    point: str
    hook: str
    kind: str
    """`guard` or `observer`."""
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.hook} failed: {self.reason}"


async def said(point: object, hook: Hook, *given: object) -> Any:
    """What the hook returned, or the `Problem` it had, which is in the log then.

    A sync function runs in a daemon thread of its own, an async one on the loop. One that is out of time is cancelled;
    a thread, or a coroutine that ignores that, is left behind. Only cancellation leaves this.
    """
    work = entered(lambda: hook.function(*given), is_async=hook.is_async, name=hook.name, kind=hook.kind)
    try:
        return await within(hook.timeout, work)
    except TooLong:
        return failed(point, hook, f"it did not return within {hook.timeout:g} s")
    except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the app's own; what it means is the point's to say
        return failed(point, hook, _told(error), error)


def failed(point: object, hook: Hook, reason: str, error: BaseException | None = None) -> Problem:
    problem = Problem(str(point), hook.name, hook.kind, reason)
    trace = "" if error is None else "\n" + cleaned("".join(traceback.format_exception(error)))[-_MAX_TRACEBACK:]
    LOG.warning("at %s %s%s", point, problem, trace)
    return problem


def _told(error: BaseException) -> str:
    try:
        words = cleaned(str(error))
    except Exception:  # noqa: BLE001 - even that is the app's own
        words = "and cannot say why"
    if len(words) > MAX_REASON:
        words = f"{words[:MAX_REASON]} [...]"
    return f"it raised {cleaned(type(error).__name__)}: {words}"
