"""D1, C6, B4: seeded schedules in one process. More: `python -m tests.interleaving.explore --seeds 20000`.

`SCHEDULES_FROM` chooses the first seed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.interleaving.explore import Stage, Verdict, explored
from tests.interleaving.shuffled import ShuffledLoop, Stuck

FIRST: Final = int(os.environ.get("SCHEDULES_FROM", "1"))
SEEDS: Final = 400
JOBS: Final = 2

SOMETIMES: Final = {
    "send: completed", "send: stopped", "send: CancelledError", "send: EpochLostError", "send: LoopClosedError",
    "send: SessionBusyError", "send: SessionPendingError", "send: SessionClosedError", "send: SessionArchivedError",
    "send: SessionNotFoundError", "send: ModelError", "send: hit_round_limit", "stream: completed",
    "stream: CancelledError", "leave_stream: done", "resume: completed", "resume: CancelledError", "abort: done",
    "abort: SessionBusyError", "recover: resume, took 1", "recover: abort, took 1", "recover: report, took 1",
    "close: done", "delete: done", "die: done", "leave: done",
}  # fmt: skip
"""What a sample must have seen, or it did not look."""


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return list(explored(FIRST, SEEDS, JOBS, chunk=SEEDS // JOBS))


@pytest.mark.acceptance("D1", "C6", "B4", "B5")
def test_no_schedule_breaks_anything(verdicts: list[Verdict]) -> None:
    failed = [str(verdict) for verdict in verdicts if verdict.problems]
    assert not failed, "\n".join(failed[:3])
    assert len(verdicts) == SEEDS


def test_the_sample_saw_every_outcome(verdicts: list[Verdict]) -> None:
    seen = sum((verdict.seen for verdict in verdicts), Counter[str]())
    assert set(seen) >= SOMETIMES
    assert sum(verdict.struck for verdict in verdicts) > SEEDS // 10
    assert len({verdict.trace for verdict in verdicts}) == SEEDS, "each seed is another schedule"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_seed_is_one_schedule(stage: Stage, seed: int) -> None:
    first, again = stage.judge(seed), stage.judge(seed)
    assert (first.trace, first.steps, first.commits, first.seen) == (
        again.trace,
        again.steps,
        again.commits,
        again.seen,
    )


def test_whoever_waits_for_what_never_comes_is_found() -> None:
    loop = ShuffledLoop(1)
    waiting = loop.create_task(asyncio.Event().wait())
    with pytest.raises(Stuck):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
