"""What a tool tells while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from power_loop.tools import Tool, ToolContext, invoke, tool


def context(**more: Any) -> ToolContext:
    return ToolContext(session_id="s", call_id="c", idempotency_key="s/1/0", **more)


async def run(made: Tool, text: str = "", of: ToolContext | None = None) -> Any:
    return await invoke(made, made.arguments(text), of or context())


async def test_progress_is_passed_on_as_a_copy_from_any_thread() -> None:
    heard: list[Any] = []

    @tool
    def works(ctx: ToolContext) -> None:
        state = {"done": [1]}
        ctx.emit("started")
        ctx.emit(state)
        state["done"].append(2)
        ctx.emit({3})
        ctx.emit(object)

    await run(works, of=context(listener=heard.append))
    assert heard[:3] == ["started", {"done": [1]}, [3]]
    assert "object" in heard[3]


async def test_a_failing_listener_fails_no_tool() -> None:
    def fails(progress: object) -> None:
        raise OSError("broken pipe")

    @tool
    def works(ctx: ToolContext) -> str:
        ctx.emit("x")
        return "done"

    assert await run(works, of=context(listener=fails)) == "done"
    assert await run(works) == "done"


def test_nothing_is_passed_on_after_a_cancellation() -> None:
    heard: list[Any] = []
    of = context(listener=heard.append)
    of.cancel.set()
    of.emit("late")
    assert heard == []
    with pytest.raises(AttributeError):
        of.attempt = 2  # type: ignore[misc]
