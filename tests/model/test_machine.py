"""The machine, briefly: `python -m tests.model --examples 2000 --seed 7` is the long run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.hands import Host
from tests.model.machine import Machine

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))


def how(examples: int, steps: int = 25, **more: object) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize="MODEL_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck), database=None, print_blob=False, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        Machine.host = host
        yield host


def test_the_machine_finds_nothing(host: Host) -> None:
    run_state_machine_as_test(Machine, settings=how(EXAMPLES))
    print(dict(Machine.statistics))
