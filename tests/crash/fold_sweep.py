"""`python -m tests.crash.fold_sweep`: killed at every statement of a compaction and of its undoing.

Under every strategy, and in every way of going on. One line a strategy, and a last one with kills, failures and
seconds. A case again: `python -m power_loop.testing.crash tests.crash.folding:STRATEGY --way WAY --kill POINT:N`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import Final

from power_loop.testing.crash.everywhere import all_points, once, run
from power_loop.testing.crash.jury import Jury
from power_loop.testing.crash.points import Point
from power_loop.testing.crash.report import CrashFailures, CrashReport
from power_loop.testing.crash.ways import TAKEOVER, WAYS
from tests.crash.folding import NAMES, full_name

OF_A_COMPACTION: Final = frozenset(
    {
        "loop.fold", "sql.next_compaction", "sql.fold_message", "sql.insert_compaction", "sql.fold_session",
        "sql.last_compaction", "sql.put_notes_out", "sql.restore_messages", "sql.undo_compaction",
    }
)  # fmt: skip


def points_of(jury: Jury, strategy: str, report: CrashReport) -> Sequence[Point]:
    """The points of compactions that a strategy's scenario passes."""
    return [point for point in all_points(jury, full_name(strategy), report) if point.name in OF_A_COMPACTION]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.fold_sweep", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the points")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun, reports = time.monotonic(), []
    with Jury(options.jobs) as jury:
        for strategy in (name for name in NAMES if name != "failing"):
            report = CrashReport(scenario=full_name(strategy), seed=options.seed)
            points = points_of(jury, strategy, report)
            some = random.Random(options.seed).sample(points, max(1, round(options.share * len(points))))
            for way in (way for way in WAYS if way != TAKEOVER):
                run(jury, report, way, once(report.scenario, way, some))
            reports.append(report)
            print(f"{strategy}: {len(some)} points, {report.kills} kills", flush=True)
    code = 0
    for report in reports:
        try:
            report.check()
        except CrashFailures as failures:
            code = 1
            print(f"\n{failures}")
    kills, failed = sum(r.kills for r in reports), sum(len(r.failures) + len(r.problems) for r in reports)
    print(f"{'FAILED' if code else 'ok'}: {kills} kills, {failed} failures, {time.monotonic() - begun:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
