"""`python -m bench`: what a durable turn costs, against others. See `--help`; docs/performance.md has the method."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import environment, pages, server, targets, venvs
from bench.peers import ORDER, WITHOUT_VENV
from bench.plan import Plan
from bench.workloads import COMPARE, NAMES, workload


def main() -> int:
    given = _arguments()
    result: dict[str, Any] = {"tables": {}, "data": {}, "contestants": {}, "seconds": {}}
    if given.base:
        result |= json.loads(given.base.read_text())
    failed = _measure(given, result) if given.workload or not given.base else []
    result["targets"] = targets.figures(result["data"])
    print(targets.table(result["data"]).text())
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nevery single figure is in {given.json}")
    if given.docs:
        for written in pages.write(result):
            print(f"wrote {written}")
    for name in failed:
        print(f"workload {name} failed", file=sys.stderr)
    return bool(failed)


def _measure(given: argparse.Namespace, result: dict[str, Any]) -> list[str]:
    """Run the workloads; what each found is in `result` and in the file as soon as it is there. Who failed."""
    failed = []
    result["environment"] = environment.described(given.dir)
    print(", ".join(f"{name} {value}" for name, value in result["environment"].items()))
    absent = asyncio.run(venvs.ready(given.peers))
    with server.running() as url:
        plan = Plan(
            url=url,
            quick=given.quick,
            repetitions=given.repetitions or (2 if given.quick else 5),
            peers=given.peers,
            folder=given.dir,
            absent=absent,
        )
        result["settings"] = {"quick": plan.quick, "repetitions": plan.repetitions, "peers": plan.peers}
        for name in given.workload or (COMPARE if given.quick else NAMES):
            measure = workload(name)
            if measure is None:
                print(f"\n{name}: not there")
                continue
            print(f"\n== {name}", flush=True)
            begun = perf_counter()
            try:
                found = asyncio.run(measure(plan))
            except Exception:  # noqa: BLE001 - one workload's fault does not take the figures of the others
                traceback.print_exc()
                failed.append(name)
                continue
            result["seconds"][name] = perf_counter() - begun
            for table in found.tables:
                print(table.text())
            print(f"({result['seconds'][name]:.0f} s)", flush=True)
            result["tables"][name] = pages.stored(found.tables)
            result["data"][name] = found.data
            result["contestants"] |= environment.contestants(plan)
            given.json.write_text(json.dumps(result, indent=1) + "\n")
    for name, why in plan.absent.items():
        print(f"\n{name} did not take part, or not to the end: {why}")
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What a durable turn costs, side by side and interleaved with others. Trust the ratios; times are "
        "those of this machine and this minute.",
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"{', '.join(NAMES)}; all when absent")
    parser.add_argument("--quick", action="store_true", help="a smoke test without network; its figures are rough")
    parser.add_argument("--peers", help=f"who takes part: {','.join(ORDER)}; all when absent")
    parser.add_argument("--repetitions", type=int, help="interleaved repetitions; medians are over these (5)")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--json", type=Path, default=Path("bench-result.json"), help="where all figures go")
    parser.add_argument(
        "--from", dest="base", type=Path, help="begin with the figures of this file: measure the named workloads anew"
    )
    parser.add_argument("--docs", action="store_true", help="also write docs/performance.md and its plots")
    given = parser.parse_args()
    for name in given.workload:
        if name not in NAMES:
            parser.error(f"there is no workload {name}; there are {', '.join(NAMES)}")
    chosen = given.peers.split(",") if given.peers else WITHOUT_VENV if given.quick else ORDER
    for name in chosen:
        if name not in ORDER:
            parser.error(f"there is no contestant {name}; there are {', '.join(ORDER)}")
    given.peers = tuple(chosen)
    if not given.dir.is_dir():
        parser.error(f"--dir {given.dir} is no folder")
    return given


if __name__ == "__main__":
    sys.exit(main())
