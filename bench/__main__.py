"""`python -m bench`: what a persisted turn costs. See `--help`, and `bench/__init__.py` for how it is measured."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, strftime
from typing import Any

from bench import server
from bench.workloads import WORKLOADS, Plan


def main() -> None:
    given = _arguments()
    begun = perf_counter()
    environment = _environment(given.dir)
    print(", ".join(f"{name} {value}" for name, value in environment.items()))
    with server.running() as url:
        plan = Plan(
            url=url,
            repetitions=given.repetitions or (2 if given.quick else 7),
            turns=given.turns or (4 if given.quick else 10),
            lengths=given.lengths or ([10, 300] if given.quick else [10, 1_000, 10_000]),
            typed_up_to=300 if given.quick else 10_000 if given.typed_to_the_end else 1_000,
            sessions=given.sessions or ([1, 10] if given.quick else [1, 10, 100]),
            folder=given.dir,
        )
        found: dict[str, Any] = {name: asyncio.run(WORKLOADS[name](plan)) for name in given.workload or WORKLOADS}
    settings = {name: getattr(plan, name) for name in ("repetitions", "turns", "lengths", "sessions")}
    given.json.write_text(
        json.dumps({"environment": environment, "settings": settings, "milliseconds": found}, indent=1) + "\n"
    )
    print(f"\n{perf_counter() - begun:.0f} s; every single figure is in {given.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What a persisted turn costs, side by side and interleaved with the same turn without a store, the "
        "bare openai client and raw sqlite3. Trust the ratios; times are those of this machine and this minute.",
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; all when absent")
    parser.add_argument("--quick", action="store_true", help="a smoke test of under 20 seconds; its figures are rough")
    parser.add_argument("--repetitions", type=int, help="batches of each contestant; medians are over these (7)")
    parser.add_argument("--turns", type=int, help="turns a batch (10)")
    parser.add_argument("--lengths", type=int, nargs="+", help="messages in a session (10 1000 10000)")
    parser.add_argument("--sessions", type=int, nargs="+", help="sessions at once (1 10 100)")
    parser.add_argument(
        "--typed-to-the-end", action="store_true", help="send 10,000 messages through the typed method too: 10 s a turn"
    )
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--json", type=Path, default=Path("bench-result.json"), help="where all figures go")
    given = parser.parse_args()
    for name in given.workload:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name}; there are {', '.join(WORKLOADS)}")
    if not given.dir.is_dir():
        parser.error(f"--dir {given.dir} is no folder")
    return given


def _environment(folder: Path) -> dict[str, str]:
    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return {
        "when": strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: installed(name) for name in ("aiosqlite", "openai", "pydantic")},
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "folder": str(folder.resolve()),
        "journal": "WAL, synchronous=FULL unless a row says otherwise",
    }


if __name__ == "__main__":
    main()
