"""How it is measured: contestants take turns in small batches, so what else the machine does hits all of them alike."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time

from bench.subjects import Subject


@dataclass(kw_only=True)
class Figure:
    """One contestant's row. Times are milliseconds a turn, one entry a repetition."""

    name: str
    durable: str = ""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    """The model client's share of `wall`."""
    commits: float | None = None
    """A turn."""
    flushes: float | None = None

    @property
    def ms(self) -> float:
        return median(self.wall)

    @property
    def own(self) -> list[float]:
        """What is not the client's: store and loop."""
        return (
            [wall - client for wall, client in zip(self.wall, self.client, strict=True)] if self.client else self.wall
        )

    def ratio(self, base: Figure) -> float:
        """How many times the base's time: the median over repetitions of the ratio within each."""
        return median(mine / theirs for mine, theirs in zip(self.wall, base.wall, strict=True))

    def own_ratio(self, base: Figure) -> float:
        return median(mine / theirs for mine, theirs in zip(self.own, base.own, strict=True))


async def interleaved(
    subjects: Sequence[Subject], *, turns: int, repetitions: int, sessions: int = 1, fresh_sessions: bool = False
) -> list[Figure]:
    """Each contestant, each repetition: `turns` turns in each of `sessions` sessions at once. A first round warms up.

    With `fresh_sessions` each repetition has sessions of its own, else those of the one before.
    """
    figures = [Figure(name=subject.name, durable=subject.durable) for subject in subjects]
    commits: list[int | None] = []
    for repetition in range(-1, repetitions):
        if repetition == 0:
            commits = [subject.commits for subject in subjects]
        order = list(zip(subjects, figures, strict=True))
        shift = repetition % len(order)
        for subject, figure in order[shift:] + order[:shift]:
            first = (repetition + 1) * sessions if fresh_sessions else 0
            if repetition < 0 or fresh_sessions:
                await _batch(
                    subject, range(first, first + sessions), 1
                )  # the first turn reads the history: see `fresh`
            if repetition < 0:
                continue
            wall, cpu, client = await _batch(subject, range(first, first + sessions), turns)
            figure.wall.append(wall)
            figure.cpu.append(cpu)
            figure.client += [] if client is None else [client]
    for subject, figure, before in zip(subjects, figures, commits, strict=True):
        if before is not None and subject.commits is not None:
            figure.commits = (subject.commits - before) / ((turns + fresh_sessions) * repetitions * sessions)
    return figures


async def _batch(subject: Subject, sessions: range, turns: int) -> tuple[float, float, float | None]:
    async def one(session: int) -> None:
        for _ in range(turns):
            await subject.turn(session)

    gc.collect()
    client = subject.client_seconds
    wall, cpu = perf_counter(), process_time()
    await asyncio.gather(*map(one, sessions))
    wall, cpu = perf_counter() - wall, process_time() - cpu
    each = 1000 / (turns * len(sessions))
    after = subject.client_seconds
    return wall * each, cpu * each, None if client is None or after is None else (after - client) * each
