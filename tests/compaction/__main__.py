"""`python -m tests.compaction --examples 10000 --seed 1`: every strategy over as many random histories as you like."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.compaction.properties import PROPERTIES, run_one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compaction", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="random histories for each strategy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--only", action="append", choices=PROPERTIES)
    given = parser.parse_args()
    names, begun, failed = given.only or list(PROPERTIES), time.monotonic(), 0
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(run_one, name, given.examples, given.seed) for name in names]
        for ran in (one.result() for one in work):
            failed += bool(ran.failed)
            print(f"{ran.name}: {given.examples} histories, {ran.seconds:.0f} s {ran.failed}".rstrip(), flush=True)
    verdict = f"FAILED: {failed} of" if failed else "ok:"
    took = time.monotonic() - begun
    print(f"{verdict} {len(names)} properties, {given.examples} histories each, seed {given.seed}, {took:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
