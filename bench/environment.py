"""What a run was made on, and who took part."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import strftime
from typing import Any

from bench.contestants import PRAGMAS, VERSIONS
from bench.figures import titled
from bench.peers import ORDER, peer
from bench.plan import Plan
from bench.report import Table


def described(folder: Path) -> dict[str, str]:
    """Machine, interpreter and packages; no path and no host name."""
    found = {
        "when": strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}",
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "file system": _file_system(folder),
    }
    for name in ("power-loop", "aiosqlite", "openai", "pydantic"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _file_system(folder: Path) -> str:
    """The kind of the one that the databases are on."""
    best, kind = "", "?"
    if sys.platform == "linux":
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, name, *_ = line.split()
            if folder.resolve().is_relative_to(place) and len(place) >= len(best):
                best, kind = place, name
    return kind


def contestants(plan: Plan) -> dict[str, dict[str, Any]]:
    """Who takes part, in which setting, on which versions; or why not."""
    return {
        name: {
            "title": peer(name).title,
            "setting": peer(name).setting,
            "equally_durable": peer(name).equally_durable,
            "packages": list(peer(name).packages),
            "versions": VERSIONS.get(name, {}),
            "journal": PRAGMAS.get(name, {}),
            "absent": plan.absent.get(name),
        }
        for name in ORDER
        if name in plan.peers
    }


def table(took_part: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, one in took_part.items():
        packages = ", ".join(package.replace("==", " ") for package in one["packages"]) or "(the benchmark's own)"
        rows.append([titled(name), one["setting"], packages, one["absent"] or "yes"])
    note = "A star: every step is on disk (synchronous=FULL or equal) before the next effect: equally durable."
    return Table(title="Contestants", head=["", "setting", "packages", "took part"], rows=rows, note=note)
