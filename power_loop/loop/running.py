"""One call's function, run to its end or its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from power_loop.engine.calls import CallState, idempotency_key
from power_loop.engine.snapshot import CallView
from power_loop.events.live import ToolProgress
from power_loop.loop.stop import give_up
from power_loop.loop.turn import Turn
from power_loop.tools import Arguments, Tool, ToolContext, encoded, invoke
from power_loop.values import cleaned

T = TypeVar("T")

MAX_ERROR_CHARS: Final = 4_000
"""Of an exception's text, what the model is shown."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that passed every gate, and what it is to run with."""

    call: CallView
    tool: Tool
    arguments: Arguments
    retries: int = 0
    """How often guards had it run again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    state: CallState
    text: str
    value: object = None
    """What the function gave."""


async def outcome_of(turn: Turn, ready: Ready) -> Outcome:
    """Run one call to its end or its time limit. Never raises but by cancellation."""
    tool = ready.tool
    limit = turn.gear.config.tool_timeout if tool.timeout is None else tool.timeout
    work = invoke(tool, ready.arguments, context_of(turn, ready.call, ready.call.attempt + 1))
    try:
        value = await (work if limit is None else _within(limit, work))
        return Outcome(CallState.SUCCEEDED, encoded(value), value)
    except _TooLong:
        return Outcome(
            CallState.TIMED_OUT,
            f"Error: {tool.name} gave no result within {limit:g} s and was stopped; "
            "what it was doing may have happened fully, partly or not at all.",
        )
    except Exception as error:  # noqa: BLE001 - a tool may raise anything; the model is told
        return Outcome(CallState.FAILED, f"Error: {_described(error)}")


def context_of(turn: Turn, call: CallView, attempt: int) -> ToolContext:
    """What one run of a call may know."""
    loop = asyncio.get_running_loop()

    def tell(progress: object) -> None:
        loop.call_soon_threadsafe(turn.publish, ToolProgress(call.id, call.name, progress))  # type: ignore[arg-type]

    return ToolContext(
        session_id=turn.session,
        call_id=call.id,
        idempotency_key=idempotency_key(turn.session, turn.born, call.key),
        attempt=attempt,
        listener=tell,
    )


class _TooLong(Exception):  # noqa: N818 - a signal, not an error
    """A call took longer than its tool may. No `TimeoutError`: the tool itself may raise one."""


async def _within(limit: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is left behind if it goes on after its cancellation."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        await give_up([task])
        raise
    if not task.done():
        await give_up([task])
        raise _TooLong
    return task.result()


def _described(error: BaseException) -> str:
    text = cleaned(f"{type(error).__name__}: {error}")
    return text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]} [...]"
