"""B8: a tool's own rule about approvals is asked in time, or means yes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from power_loop.tools import Tool, ToolContext, ask_approval

EMPTY = {"type": "object", "properties": {}}
CONTEXT = ToolContext(session_id="s", call_id="c", idempotency_key="k")


@pytest.mark.acceptance("B8")
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_rule_that_takes_too_long_means_yes(kind: str) -> None:
    gone = threading.Event()

    async def waits(arguments: dict[str, Any]) -> bool:
        await asyncio.Event().wait()
        return False

    def blocks(arguments: dict[str, Any]) -> bool:
        return gone.wait(60)

    made = Tool.from_schema("t", "", EMPTY, lambda: "", approval=waits if kind == "async" else blocks)
    try:
        needed, why = await ask_approval(made, made.arguments("{}"), CONTEXT, limit=0.05)
    finally:
        gone.set()
    assert needed
    assert why == "whether t needs an approval was not told within 0.05 s"
