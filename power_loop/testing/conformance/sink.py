"""All rules for a sink, as one class."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from power_loop.engine.facts import Fact, TurnCancelled
from power_loop.sink import MessageSink
from power_loop.testing.conformance.every_fact import every_fact
from power_loop.testing.conformance.kit import UNICODE
from power_loop.values import SessionId

OpenSink: TypeAlias = Callable[[], Awaitable[MessageSink]]


class MessageSinkConformance:
    """What `power_loop.sink.MessageSink` promises, as tests. Subclass it and override `open_sink` and `recorded`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def open_sink(self) -> OpenSink:
        """An async function without arguments that opens the sink of this test."""
        raise NotImplementedError("override the fixture open_sink: it returns an async function that opens your sink")

    async def recorded(self) -> Sequence[Mapping[str, Any]] | None:
        """What the sink of this test has taken in, in order, as somebody sees it who reads what it writes.

        Each fact with at least its `fact` (the name of its kind), `session` and `turn`. None: nobody can tell, and only
        what can be seen from outside is tested.
        """
        return None

    async def test_it_takes_every_kind_of_fact(self, open_sink: OpenSink) -> None:
        facts = every_fact()
        async with _opened(open_sink) as sink:
            for fact in facts:
                await sink.record([fact])
        await self._has(facts)

    async def test_what_was_recorded_stands_when_record_returns(self, open_sink: OpenSink) -> None:
        async with _opened(open_sink) as sink:
            for number in range(1, 6):
                await sink.record([_fact(number)])
                await self._has([_fact(n) for n in range(1, number + 1)])

    async def test_facts_of_one_batch_come_in_their_order(self, open_sink: OpenSink) -> None:
        facts = [_fact(number) for number in (5, 1, 9, 2, 2, 7)]
        async with _opened(open_sink) as sink:
            await sink.record(facts)
            await sink.record(tuple(facts))
            await sink.record([])
        await self._has(facts * 2)

    async def test_several_sessions_record_at_once_and_each_keeps_its_order(self, open_sink: OpenSink) -> None:
        async with _opened(open_sink) as sink:

            async def one(session: str) -> None:
                for number in range(0, 30, 3):
                    await sink.record([_fact(number + more, session) for more in range(3)])

            await asyncio.gather(*(one(f"s{n}") for n in range(20)))
        took = await self.recorded()
        if took is not None:
            for n in range(20):
                assert [fact["turn"] for fact in took if fact["session"] == f"s{n}"] == list(range(30))

    async def test_a_batch_is_taken_whole_or_not_at_all(self, open_sink: OpenSink) -> None:
        batch = [_fact(1), _fact(2, text="half an emoji: \ud83d"), _fact(3)]
        async with _opened(open_sink) as sink:
            with contextlib.suppress(Exception):
                await sink.record(batch)
            await sink.record([_fact(4)])
        took = await self.recorded()
        if took is not None:
            assert [fact["turn"] for fact in took] in ([4], [1, 2, 3, 4])

    @pytest.mark.parametrize("steps", range(8))
    async def test_a_cancelled_caller_does_not_tear_a_batch(self, open_sink: OpenSink, steps: int) -> None:
        async with _opened(open_sink) as sink:
            task = asyncio.create_task(_record(sink, [_fact(number, text="x" * 10_000) for number in range(50)]))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await sink.record([_fact(77)])
        took = await self.recorded()
        if took is not None:
            assert [fact["turn"] for fact in took] in ([77], [*range(50), 77])

    async def test_texts_come_as_they_are(self, open_sink: OpenSink) -> None:
        texts = [UNICODE, "", "\n\r\n", "x" * 1_000_000]
        async with _opened(open_sink) as sink:
            await sink.record([_fact(number, text=text) for number, text in enumerate(texts)])
            await sink.record(every_fact(text=UNICODE))
        took = await self.recorded()
        if took is not None:
            assert len(took) == len(texts) + len(every_fact())
            kept = [fact["stop_reason"] for fact in took[: len(texts)] if "stop_reason" in fact]
            assert kept in ([], texts)

    async def test_closing_twice_does_nothing(self, open_sink: OpenSink) -> None:
        sink = await open_sink()
        await sink.record([_fact(1)])
        await sink.aclose()
        await sink.aclose()
        await self._has([_fact(1)])

    async def test_closing_a_sink_that_heard_nothing_does_nothing(self, open_sink: OpenSink) -> None:
        await (await open_sink()).aclose()
        await self._has([])

    async def test_nothing_is_recorded_after_it_was_closed(self, open_sink: OpenSink) -> None:
        sink = await open_sink()
        await sink.record([_fact(1)])
        await sink.aclose()
        with contextlib.suppress(Exception):
            await sink.record([_fact(2)])
        await self._has([_fact(1)])

    async def _has(self, facts: Sequence[Fact]) -> None:
        took = await self.recorded()
        if took is not None:
            expected = [(type(fact).__name__, fact.session, fact.turn) for fact in facts]
            assert [(fact["fact"], fact["session"], fact["turn"]) for fact in took] == expected


@asynccontextmanager
async def _opened(open_sink: OpenSink) -> AsyncIterator[MessageSink]:
    sink = await open_sink()
    try:
        yield sink
    finally:
        await sink.aclose()


async def _record(sink: MessageSink, facts: Sequence[Fact]) -> None:
    await sink.record(facts)


def _fact(turn: int, session: str = "s", text: str = "enough") -> Fact:
    return TurnCancelled(session=SessionId(session), turn=turn, status="cancelled", stop_reason=text)
