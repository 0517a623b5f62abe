"""`python -m tests.guards`: take each guard out in turn and see that its test fails."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.guards.guard import Guard
from tests.guards.table import GUARDS
from tests.guards.trial import LIMIT, PASSED, Outcome, Verdict, base, tried, unpatched


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every guard matters (or is redundant, as its row says); 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.guards", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="this guard, or all that begin so; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="copies tried at a time")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a run may take")
    parser.add_argument("--list", action="store_true", help="show the table and run nothing")
    given = parser.parse_args(arguments)
    chosen = [guard for guard in GUARDS if not given.only or guard.name.startswith(tuple(given.only))]
    if not chosen:
        parser.error(f"there is no guard {' or '.join(given.only)}; --list shows them")
    if given.list:
        print("\n".join(map(_row, chosen)))
        return 0
    return shown(chosen, jobs=given.jobs, limit=given.limit)


def shown(guards: Sequence[Guard], *, jobs: int, limit: float) -> int:
    """Try guards and print what came of each; the exit code."""
    begun = time.monotonic()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        os.chmod(folder, 0o755)  # some tests run a child as another user, who has to read the tree
        tree = base(Path(folder))
        whole = unpatched(tree, [guard for guard in guards if guard.runs], limit)
        if whole.code != PASSED:
            print(f"with every guard in its place the tests do not pass:\n{whole.output[-4000:]}")
            return 1
        with ThreadPoolExecutor(jobs) as pool:
            for future in as_completed([pool.submit(tried, tree, guard, limit) for guard in guards]):
                outcomes.append(future.result())
                print(_told(outcomes[-1]), flush=True)
    counted = [f"{number} {v.value}" for v in Verdict if (number := sum(o.verdict is v for o in outcomes))]
    print(f"{len(outcomes)} guards: {'; '.join(counted)}; {time.monotonic() - begun:.0f} s")
    return 0 if all(outcome.verdict.good for outcome in outcomes) else 1


def _told(outcome: Outcome) -> str:
    return f"{outcome.verdict.value:8} {outcome.guard.name} ({outcome.seconds:.1f} s) {outcome.said}".rstrip()


def _row(guard: Guard) -> str:
    lines = [f"{guard.name} [{guard.of}] {guard.file}", f"    {guard.keeps}", f"    {guard.test}"]
    if guard.redundant is not None:
        lines.append(f"    redundant: {guard.redundant}")
    if guard.needs is not None:
        lines.append(f"    needs {guard.needs}")
    return "\n".join(lines)
