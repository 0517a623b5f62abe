"""`python -m tests.model --examples 2000 --seed 7`: the machine for as long as you like; prints the failing example."""

from __future__ import annotations

import argparse
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.hands import Host
from tests.model.machine import Machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault")
    parser.add_argument("--patience", type=float, default=Machine.patience, help="seconds to wait for what must come")
    parser.add_argument("--as-found", action="store_true", help="print the failing example as it was found")
    given = parser.parse_args()
    how = settings(
        max_examples=given.examples,
        stateful_step_count=given.steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if given.as_found else [Phase.generate, Phase.shrink],
    )
    with Host() as Machine.host:
        Machine.fault, Machine.patience = given.fault, given.patience
        begun = time.monotonic()
        try:
            run_state_machine_as_test(seed(given.seed)(Machine), settings=how)
        finally:
            print(f"seed {given.seed}, {time.monotonic() - begun:.0f} s:", dict(Machine.statistics))


if __name__ == "__main__":
    main()
