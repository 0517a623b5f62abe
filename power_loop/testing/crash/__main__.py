"""`python -m power_loop.testing.crash MODULE:SCENARIO`: `crash_everywhere` from the shell, or one case of it again."""

from __future__ import annotations

import argparse
import sys

from power_loop.testing.crash.case import Case
from power_loop.testing.crash.everywhere import crash_everywhere, run
from power_loop.testing.crash.jury import Jury
from power_loop.testing.crash.points import Point
from power_loop.testing.crash.report import CrashFailures, CrashReport
from power_loop.testing.crash.ways import WAYS


def main(arguments: list[str] | None = None) -> int:
    """0 if all held, 1 if not, 2 if it was asked wrongly."""
    parser = argparse.ArgumentParser(prog="python -m power_loop.testing.crash", description=__doc__)
    parser.add_argument("scenario", metavar="MODULE:SCENARIO")
    parser.add_argument("--share", type=float, default=1.0, help="of the points, by chance")
    parser.add_argument("--seed", type=int, default=1, help="chooses them")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="recover so only; may be given again")
    parser.add_argument("--once", action="store_true", help="do not kill recoveries too")
    parser.add_argument("--sometimes", action="append", default=[], help="fail if this window was never hit")
    parser.add_argument("--kill", action="append", type=Point.parse, metavar="POINT:N", help="one case, or a chain")
    options = parser.parse_args(arguments)
    ways = options.way or list(WAYS)
    if options.kill:
        report = CrashReport(scenario=options.scenario, seed=options.seed, points=len(options.kill))
        with Jury(1) as jury:
            cases = [Case(scenario=options.scenario, way=way, kills=tuple(options.kill)) for way in ways]
            run(jury, report, "one case", cases, _tell)
    else:
        report = crash_everywhere(
            options.scenario, share=options.share, seed=options.seed, ways=ways, again=not options.once,
            jobs=options.jobs, tell=_tell,
        )  # fmt: skip
        _tell("windows hit: " + ", ".join(f"{name} {count}" for name, count in sorted(report.windows.items())))
        _tell("open calls: " + ", ".join(f"{name} {count}" for name, count in sorted(report.outcomes.items())))
    try:
        report.check(sometimes=options.sometimes)
    except CrashFailures as failures:
        sys.stderr.write(f"FAILED {failures}\n")
        return 1
    _tell(f"ok {report}")
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
