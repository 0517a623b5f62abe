"""`python -m tests.contract`: everything the crash contract stands on, in full, one part after the other.

Needs strace for power cuts and failing disks (without it those parts fail, for the contract is not shown then). Prints
what each part prints, and at the end a table of their last lines. About 45 minutes on 2 cores; `--quick` runs a
little of each, `--only PART` some. Fails if one part does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A command, and how much of it is all, or quick."""

    name: str
    module: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    seeded: str = "--seed"
    parallel: bool = True

    def more(self, seed: int, jobs: int) -> Sequence[str]:
        return (self.seeded, str(seed), *(("--jobs", str(jobs)) if self.parallel else ()))


PARTS: Final = (
    Part(name="kills", module="tests.crash.sweep", full=("--kills", "10000"), quick=("--kills", "500")),
    Part(name="kills in compactions", module="tests.crash.fold_sweep", full=("--share", "1"), quick=("--share", "0.1")),
    Part(name="people and rules", module="power_loop.testing.crash", full=("tests.crash.rules:scenario", "--once"),
         quick=("tests.crash.rules:scenario", "--once", "--share", "0.05")),
    Part(name="power cuts", module="tests.power.cuts", full=("--cuts", "2100"), quick=("--cuts", "100")),
    Part(name="failing disks", module="tests.power.faults", full=("--step", "1"), quick=("--step", "37")),
    Part(name="flipped bits", module="tests.power.flips", full=("--flips", "1000"), quick=("--flips", "100")),
    Part(name="schedules", module="tests.interleaving.explore", full=("--seeds", "2000"), quick=("--seeds", "200"),
          seeded="--first"),
    Part(name="held processes", module="tests.interleaving.sweep", full=("--share", "0.1"), quick=("--share", "0.01")),
    Part(name="model", module="tests.model", full=("--examples", "100", "--as-found"),
         quick=("--examples", "10", "--as-found"),
         parallel=False),
    Part(name="strategies", module="tests.compaction", full=("--examples", "10000"), quick=("--examples", "500")),
    Part(name="long session", module="tests.compaction.long_run", full=("--rounds", "20000"),
         quick=("--rounds", "1000"), parallel=False),
)  # fmt: skip


def run(part: Part, amount: Sequence[str], seed: int, jobs: int) -> tuple[int, str, float]:
    """Exit code, last line and seconds of one part; what it says goes through as it comes."""
    begun, last = time.monotonic(), ""
    arguments = [sys.executable, "-m", part.module, *amount, *part.more(seed, jobs)]
    print(f"\n== {part.name}: python {' '.join(arguments[1:])}", flush=True)
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last, time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--only", action="append", choices=[part.name for part in PARTS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    chosen = [part for part in PARTS if options.only is None or part.name in options.only]
    amounts = [part.quick if options.quick else part.full for part in chosen]
    ends = [
        (part, *run(part, amount, options.seed, options.jobs)) for part, amount in zip(chosen, amounts, strict=True)
    ]
    print("\n| part | verdict | seconds | last line |\n|---|---|---:|---|", *map(_row, ends), sep="\n")
    return int(any(code for _, code, _, _ in ends))


def _row(end: tuple[Part, int, str, float]) -> str:
    part, code, last, seconds = end
    return f"| {part.name} | {'FAILED' if code else 'ok'} | {seconds:.0f} | {last} |"


if __name__ == "__main__":
    sys.exit(main())
