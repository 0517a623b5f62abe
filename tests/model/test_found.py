"""What was found by reading the product while the model of it was written, each as the least that shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_client.scripted import calls
from power_loop import Status
from tests.inbox.test_inbox import Held, queued, send
from tests.loop.kit import open_loop, stuck_in

pytestmark = pytest.mark.acceptance("D2")


async def test_who_waits_and_clears_the_way_in_vain_leaves_no_input_behind(tmp_path: Path) -> None:
    """A resume on its behalf is stopped: it is told so, and its input is not taken in by whoever sends next."""
    held = Held()
    async with open_loop(tmp_path, [calls(("look", {})), "never", "fine"], tools=[held.tool()]) as loop:
        await loop.create_session("s")
        first = send(loop, "first")
        async with stuck_in(first, held.entered):
            second = send(loop, "second", on_pending="resume")
            await queued(loop, 1)
            held.entered.clear()
            await loop.request_stop("s")
            await first
        async with stuck_in(second, held.entered):  # it resumes the first
            await loop.request_stop("s")
        assert (await second).status is Status.STOPPED
        assert await loop.get_queued("s") == []
        held.release.set()
        await asyncio.sleep(0)
