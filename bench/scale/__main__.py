"""`python -m bench.scale NAME [--quick]`: one workload of this folder alone. See `--help`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final

from bench.plan import Plan
from bench.report import Found

NAMES: Final = ("million", "appends", "recovery", "memory", "disk", "imports")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="One workload of the scale half, alone.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="as small as it can be; its figures are rough")
    parser.add_argument("--repetitions", type=int, help="interleaved repetitions; medians are over these (7)")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--json", type=Path, help="where all figures go")
    given = parser.parse_args()
    plan = Plan(
        url="",  # nothing here goes over HTTP
        quick=given.quick,
        repetitions=given.repetitions or (2 if given.quick else 7),
        peers=(),
        folder=given.dir,
    )
    begun = perf_counter()
    found: Found = asyncio.run(importlib.import_module(f"bench.scale.{given.name}").measure(plan))
    for table in found.tables:
        print(table.text())
    print(f"\n{perf_counter() - begun:.1f} s; targets: {json.dumps(found.data['targets'])}")
    if given.json is not None:
        given.json.write_text(json.dumps(found.data, indent=1) + "\n")


if __name__ == "__main__":
    main()
