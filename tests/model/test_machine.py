"""The machine, briefly: a sample of what `python -m tests.model --examples 2000 --seed 7` runs.

`MODEL_EXAMPLES=2000 python -m pytest tests/model -k machine` runs as many by chance.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.model.faults import FAULTS
from tests.model.hands import Host
from tests.model.machine import Machine

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "0"))
BATCH = 8
BATCHES = (4, 12)
"""How many batches there are at least, and at most while something that must happen has not."""
HAPPENS = ("sent", "queued", "steered", "killed", "died", "recovered", "cancelled", "stopped", "taken over", "zombies",
           "summaries", "state: quarantined", "state: interrupted_in_tools")  # fmt: skip


def how(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # shown as it was found; `python -m tests.model` makes it small
        suppress_health_check=list(HealthCheck),
        **more,
    )


def missing() -> list[str]:
    return [what for what in HAPPENS if not Machine.statistics[what]]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.mark.acceptance("A1", "A2", "A3", "B1", "B2", "B3", "B4", "B5", "B9", "B10", "D1", "D2")
def test_the_machine_finds_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "host", host, raising=False)
    monkeypatch.setattr(Machine, "statistics", Counter())
    if EXAMPLES:
        run_state_machine_as_test(Machine, settings=how(EXAMPLES))
    least, most = BATCHES
    for number in range(0 if EXAMPLES else most):
        if number >= least and not missing():
            break
        # Examples of one run are much like each other: several short ones see more.
        run_state_machine_as_test(seed(number)(type("Seeded", (Machine,), {})), settings=how(BATCH))
    assert Machine.statistics["examples"] >= (EXAMPLES or least * BATCH)
    assert not missing(), dict(Machine.statistics)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_a_store_that(fault: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "host", host, raising=False)
    monkeypatch.setattr(Machine, "fault", fault)
    monkeypatch.setattr(Machine, "patience", 3.0)
    monkeypatch.setattr(Machine, "found", [])
    # A fault may show itself differently when Hypothesis tries the example again, which it then calls flaky.
    with pytest.raises((AssertionError, Flaky)):
        run_state_machine_as_test(Machine, settings=how(60, derandomize=True, report_multiple_bugs=False))
    assert re.search(
        "before its start was stored|the file is not as the book says|unexpected|taken in", Machine.found[0]
    )
