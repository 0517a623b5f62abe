"""Subjects: sinks with one promise broken each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from power_loop.engine.facts import CompactionFailed, Fact
from power_loop.sink import MessageSink
from power_loop.testing.conformance import MessageSinkConformance, OpenSink


class SoundSink:
    """Keeps what it hears in a list, after a moment."""

    def __init__(self, took: list[Fact]) -> None:
        self.took, self.closed, self.one = took, False, asyncio.Lock()

    async def record(self, facts: Sequence[Fact]) -> None:
        async with self.one:
            await asyncio.sleep(0)
            for fact in facts:
                str(getattr(fact, "stop_reason", "")).encode()
            if not self.closed:
                self.took += facts

    async def aclose(self) -> None:
        self.closed = True


class TearsBatches(SoundSink):
    async def record(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            await super().record([fact])


class TurnsBatchesRound(SoundSink):
    async def record(self, facts: Sequence[Fact]) -> None:
        await super().record(facts[::-1])


class IsLate(SoundSink):
    """Returns before it has the facts: it takes them in with the next ones."""

    late: tuple[Fact, ...] = ()

    async def record(self, facts: Sequence[Fact]) -> None:
        known, self.late = self.late, tuple(facts)
        await super().record(known)


class RefusesAKind(SoundSink):
    async def record(self, facts: Sequence[Fact]) -> None:
        assert not any(isinstance(fact, CompactionFailed) for fact in facts)
        await super().record(facts)


class HearsOnAfterItsClose(SoundSink):
    async def aclose(self) -> None:
        return


class CannotBeClosedTwice(SoundSink):
    async def aclose(self) -> None:
        assert not self.closed
        self.closed = True


class BrokenSinkRules(MessageSinkConformance):
    subject: ClassVar[type[SoundSink]]

    @pytest.fixture
    def open_sink(self) -> OpenSink:
        self.took: list[Fact] = []

        async def opening() -> MessageSink:
            return self.subject(self.took)

        return opening

    async def recorded(self) -> Sequence[Mapping[str, Any]]:
        return [{"fact": type(fact).__name__, "session": fact.session, "turn": fact.turn} for fact in self.took]


for _subject in (SoundSink, *SoundSink.__subclasses__()):
    globals()[f"Test{_subject.__name__}"] = type(f"Test{_subject.__name__}", (BrokenSinkRules,), {"subject": _subject})
