"""A1, E2: killed at the statements of a compaction and of its undoing, in each strategy: nothing changed, or all of it.

All of it: `python -m tests.crash.fold_sweep`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from power_loop.testing.crash import CrashReport
from power_loop.testing.crash.everywhere import all_points, once, run
from power_loop.testing.crash.jury import Jury
from tests.crash.fold_sweep import OF_A_COMPACTION, points_of
from tests.crash.folding import HERE, NAMES

SEED: Final = int(os.environ.get("CRASH_SEED", "2024"))
WAYS: Final = ("retry", "abort", "new_resume")
EACH: Final = 6
"""Points of a compaction that each way is tried from."""


@pytest.fixture(scope="module")
def jury() -> Iterator[Jury]:
    with Jury(2) as jury:
        yield jury


@pytest.mark.acceptance("A1", "E2", "E8")
@pytest.mark.parametrize("strategy", NAMES)
def test_a_compaction_is_whole_or_not_there(strategy: str, jury: Jury) -> None:
    name = f"{HERE}:{strategy}"
    report = CrashReport(scenario=name, seed=SEED)
    chance = random.Random(f"{SEED} {strategy}")
    points = points_of(jury, strategy, report)
    if strategy == "failing":
        points = chance.sample(all_points(jury, name, report), EACH)
    else:
        assert {point.name for point in points} == OF_A_COMPACTION
    for way in WAYS:
        run(jury, report, way, once(name, way, chance.sample(points, EACH)))
    report.check()
    assert report.kills == EACH * len(WAYS)
