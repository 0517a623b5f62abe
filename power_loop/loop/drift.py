"""Tools that are not what they were when the model called them: by their name, and by what arguments they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from power_loop.errors import ToolChangedError
from power_loop.store.records import CallInfo
from power_loop.tools import Tool
from power_loop.values import Effect, SessionId

_CARE: Final = (Effect.READ, Effect.IDEMPOTENT, Effect.ONCE)


def changed(call: CallInfo, tool: Tool | None) -> bool:
    """Whether the tool of that name takes other arguments than the one that was called, or was none then."""
    return tool is not None and tool.schema_hash != call.schema_hash


def careful(call: CallInfo, tool: Tool | None) -> Effect:
    """What repeating the call would do: as it was recorded, or as its tool says by now, whichever is worse."""
    return call.effect if tool is None else max(call.effect, tool.effect, key=_CARE.index)


def refuse_drift(session: SessionId, calls: Sequence[CallInfo], tool: Callable[[str], Tool | None]) -> None:
    """Raises `ToolChangedError` if the tool that `tool` has under a call's name is gone or changed."""
    problems = dict(_problems(calls, tool))
    if problems:
        shown = [call.shown_open(driven=False) for call in calls if call.id in problems]
        raise ToolChangedError(session, shown, list(problems.values()))


def _problems(calls: Sequence[CallInfo], named: Callable[[str], Tool | None]) -> Iterator[tuple[str, str]]:
    for call in calls:
        tool = named(call.name)
        if tool is None and call.schema_hash is not None:
            yield call.id, f"{call.name} of call {call.id} is not registered"
        elif changed(call, tool):
            yield call.id, f"{call.name} of call {call.id} takes other arguments than it did"
