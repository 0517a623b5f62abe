"""A write or flush fails or kills: a typed error, no false acknowledgement, and a file that can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.power import strace
from tests.power.faults import KINDS, run, sweep, workers

pytestmark = [
    pytest.mark.acceptance("A1", "A7"),
    pytest.mark.skipif(strace.missing() is not None, reason=str(strace.missing())),
]

ENDS = {"signal": {"killed"}, "error": {"went on", "gave up"}}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with workers(2) as pool:
        yield pool


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_told_or_deadly_and_a_fresh_process_goes_on(kind: str, pool: ProcessPoolExecutor) -> None:
    step = 60 if KINDS[kind].startswith("pwrite64") else 7 if KINDS[kind].startswith("fdatasync") else 1
    tally = sweep(pool, kind, "turn", seed=1, step=step, first=2 if step > 1 else 1)
    assert [(one.command(), one.problems) for one in tally.failed] == []
    assert tally.runs
    assert set(tally.ends) <= ENDS["signal" if "signal" in KINDS[kind] else "error"]


def test_a_new_database_is_not_put_in_place_without_what_its_log_holds(pool: ProcessPoolExecutor) -> None:
    """The disk is full from some write on, while the file is made: it is there whole, or not at all."""
    runs = list(
        pool.map(run, *zip(*(("no space from then on", "turn", 1, nth) for nth in range(80, 160, 9)), strict=True))
    )
    assert [(one.command(), one.problems) for one in runs if one.problems] == []
    assert all("store.full" in one.codes for one in runs)
