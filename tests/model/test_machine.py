"""The machine, briefly: a sample of what `python -m tests.model --examples 2000 --seed 7` runs.

`MODEL_EXAMPLES=2000 python -m pytest tests/model -k machine` runs as many by chance.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.model.faults import FAULTS
from tests.model.hands import Host
from tests.model.machine import Machine

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "20"))


def how(examples: int, *, by_chance: bool = False, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=not by_chance,
        phases=[Phase.generate],  # shown as it was found; `python -m tests.model` makes it small
        suppress_health_check=list(HealthCheck),
        **more,
    )


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.mark.acceptance("A1", "A2", "A3", "B1", "B2", "B3", "B4", "B5", "B9", "B10", "D1", "D2")
def test_the_machine_finds_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "host", host, raising=False)
    run_state_machine_as_test(Machine, settings=how(EXAMPLES, by_chance="MODEL_EXAMPLES" in os.environ))
    assert Machine.statistics["examples"] >= EXAMPLES
    assert all(Machine.statistics[what] for what in ("sent", "killed", "queued"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_a_store_that(fault: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "host", host, raising=False)
    monkeypatch.setattr(Machine, "fault", fault)
    monkeypatch.setattr(Machine, "patience", 1.0)
    monkeypatch.setattr(Machine, "found", [])
    # A fault may show itself differently when Hypothesis tries the example again, which it then calls flaky.
    with pytest.raises((AssertionError, Flaky)):
        run_state_machine_as_test(Machine, settings=how(60, report_multiple_bugs=False))
    assert re.search(
        "before its start was stored|the file is not as the book says|unexpected|taken in", Machine.found[0]
    )
