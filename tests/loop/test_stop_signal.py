"""The one way to stop a turn, by itself: the first reason counts, what is done is kept, the stubborn are left."""

from __future__ import annotations

import asyncio

import pytest

from power_loop.loop.stop import Stopped, StopSignal, give_up
from power_loop.values import Status
from tests.loop.kit import FOREVER


async def soon(value: str) -> str:
    await asyncio.sleep(0)
    return value


async def test_the_first_reason_counts() -> None:
    signal = StopSignal()
    signal.check()
    assert not signal.requested
    signal.request(Status.STOPPED, "first")
    signal.request(Status.CANCELLED, "second")
    with pytest.raises(Stopped) as caught:
        signal.check()
    assert (caught.value.stop.status, caught.value.stop.reason) == (Status.STOPPED, "first")


async def test_what_is_done_counts_also_when_somebody_wants_to_stop_by_now() -> None:
    signal = StopSignal()
    done, late = asyncio.create_task(soon("done")), asyncio.create_task(asyncio.sleep(FOREVER))
    await done
    signal.request(Status.STOPPED, "enough")
    assert await signal.first([late, done]) == [done]
    with pytest.raises(Stopped):
        await signal.first([late])
    assert not late.done(), "they are the caller's to cancel"
    await give_up([late])
    assert late.cancelled()


async def test_what_is_done_is_in_the_order_given() -> None:
    signal = StopSignal()
    tasks = [asyncio.create_task(soon(str(n))) for n in range(9)]
    await asyncio.gather(*tasks)
    assert await signal.first(tasks) == tasks


async def test_a_cancelled_turn_is_one_that_is_stopped() -> None:
    signal = StopSignal()
    late = asyncio.create_task(asyncio.sleep(FOREVER))
    waiting = asyncio.create_task(signal.first([late]))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(Stopped) as caught:
        await waiting
    assert caught.value.stop.status is Status.CANCELLED
    await give_up([late])


async def test_work_ends_or_is_cancelled_or_is_left_behind() -> None:
    signal, ended = StopSignal(), asyncio.Event()

    async def polite() -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ended.set()

    async def stubborn() -> str:
        while not over.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        raise RuntimeError("too late, and nobody hears it")

    over = asyncio.Event()
    assert await signal.run(soon("a result")) == "a result"
    with pytest.raises(TimeoutError):
        await signal.run(polite(), timeout=0.01)
    assert ended.is_set()
    with pytest.raises(TimeoutError):
        await signal.run(stubborn(), timeout=0.01)
    running = asyncio.create_task(signal.run(stubborn()))
    await asyncio.sleep(0)
    signal.request(Status.STOPPED, "enough")
    with pytest.raises(Stopped):
        await running
    over.set()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(left, timeout=5)


async def test_work_that_has_begun_is_entered_before_a_stop_cuts_it_off() -> None:
    """A call is started on disk first: cancelled before its function it would be in doubt without having run."""
    entered = []

    async def work() -> None:
        entered.append(True)
        await asyncio.Event().wait()

    stop = StopSignal()
    stop.request(Status.STOPPED, "enough")
    with pytest.raises(Stopped):
        await stop.run(work())
    assert entered == [True]
