"""`python -m tests.contract`: everything the crash contract stands on, in full, one part after the other.

Needs strace for power cuts and failing disks (without it those parts fail, for the contract is not shown then). Prints
what each part prints, and at the end a table of their last lines. About 45 minutes on 2 cores; `--quick` runs a
twentieth of each, `--only PART` some. Fails if one part does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A command, how to tell it how much to do, and how much that is in full."""

    name: str
    module: str
    option: str
    full: int

    def command(self, share: float, seed: int, jobs: int) -> list[str]:
        amount = max(1, round(self.full * share))
        return [self.module, self.option, str(amount), "--seed", str(seed), "--jobs", str(jobs)]


PARTS: Final = (
    Part(name="kills", module="tests.crash.sweep", option="--kills", full=10_000),
    Part(name="power cuts", module="tests.power.cuts", option="--cuts", full=2_000),
    Part(name="failing disks", module="tests.power.faults", option="--faults", full=400),
    Part(name="flipped bits", module="tests.power.flips", option="--flips", full=1_000),
    Part(name="schedules", module="tests.interleaving.explore", option="--seeds", full=2_000),
    Part(name="held processes", module="tests.interleaving.sweep", option="--pairs", full=400),
    Part(name="model", module="tests.model", option="--examples", full=300),
)


def run(part: Part, share: float, seed: int, jobs: int) -> tuple[int, str, float]:
    """Exit code, last line and seconds of one part; what it says goes through as it comes."""
    begun, last = time.monotonic(), ""
    arguments = [sys.executable, "-m", *part.command(share, seed, jobs)]
    print(f"\n== {part.name}: python {' '.join(arguments[1:])}", flush=True)
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last, time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--only", action="append", choices=[part.name for part in PARTS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    chosen = [part for part in PARTS if options.only is None or part.name in options.only]
    ends = [(part, *run(part, 0.05 if options.quick else 1.0, options.seed, options.jobs)) for part in chosen]
    print("\n| part | verdict | seconds | last line |\n|---|---|---:|---|", *map(_row, ends), sep="\n")
    return int(any(code for _, code, _, _ in ends))


def _row(end: tuple[Part, int, str, float]) -> str:
    part, code, last, seconds = end
    return f"| {part.name} | {'FAILED' if code else 'ok'} | {seconds:.0f} | {last} |"


if __name__ == "__main__":
    sys.exit(main())
