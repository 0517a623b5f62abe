"""What a call of unknown outcome did, as far as its tool can tell."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from power_loop.tools import Done, NotDone, ToolContext, Unknown, ask_reconcile, tool


def context(**more: Any) -> ToolContext:
    return ToolContext(session_id="s", call_id="c", idempotency_key="s/1/0", **more)


async def asked(reconcile: Callable[..., Any] | None, text: str = '{"x": "5"}') -> Any:
    @tool(reconcile=reconcile)
    def pays(x: int, y: int = 2) -> None:
        raise AssertionError("a reconcile runs no tool")

    return await ask_reconcile(pays, pays.arguments(text), context(attempt=2))


async def test_reconcile_is_asked_with_the_call() -> None:
    def sync(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        assert threading.current_thread() is not threading.main_thread()
        return Done((ctx.idempotency_key, ctx.attempt, arguments))

    async def later(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        return sync_answer(ctx, arguments)

    def sync_answer(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        return Done((ctx.idempotency_key, ctx.attempt, arguments))

    assert await asked(sync) == await asked(later) == Done(("s/1/0", 2, {"x": 5, "y": 2}))


@pytest.mark.parametrize("said", [Done(), Done(None), NotDone(), Unknown("asked nobody")])
async def test_what_reconcile_says_is_what_comes_back(said: Any) -> None:
    assert await asked(lambda ctx, arguments: said) == said


@pytest.mark.parametrize("said", [None, True, "done", Done, {"done": True}])
async def test_anything_else_is_unknown(said: Any) -> None:
    answer = await asked(lambda ctx, arguments: said)
    assert isinstance(answer, Unknown)
    assert "not Done, NotDone or Unknown" in answer.reason


async def test_an_error_is_unknown() -> None:
    def fails(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        raise ConnectionError("bank is closed")

    async def exits(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        sys.exit(1)

    assert "ConnectionError: bank is closed" in (await asked(fails)).reason
    assert "SystemExit" in (await asked(exits)).reason
    assert "no reconcile function" in (await asked(None)).reason


async def test_cancelling_a_reconcile_is_a_cancellation() -> None:
    async def waits(ctx: ToolContext, arguments: dict[str, Any]) -> Done:
        await asyncio.Event().wait()
        return Done()

    running = asyncio.create_task(asked(waits))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
