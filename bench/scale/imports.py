"""Start-up: importing power_loop, and a loop from it, against pydantic plus sqlite3; a client; the help of the CLI."""

from __future__ import annotations

import re
import sys
from statistics import median
from time import perf_counter
from typing import Any, Final

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import output

BASE: Final = "import pydantic, sqlite3"
IMPORT: Final = "import power_loop"
USE: Final = "from power_loop import StatefulAgentLoop"
LITERAL: Final = f"{BASE} (no model: pydantic loads itself lazily)"
CODES: Final = {
    LITERAL: "import pydantic, sqlite3",
    BASE: "import pydantic, sqlite3; pydantic.BaseModel",
    IMPORT: IMPORT,
    USE: USE,
    "... and build OpenAIChatService": (
        f"{USE}, OpenAIChatService; OpenAIChatService(model='m', api_key='k', base_url='http://127.0.0.1:1/v1')"
    ),
    "... without the model: import openai": "import openai; openai.AsyncOpenAI(api_key='k')",
}
COMMANDS: Final = {
    "(an empty interpreter)": ["-c", "pass"],
    "power-loop --help": [
        "-c",
        "import sys; sys.argv[0] = 'power-loop'; from power_loop.cli import main; main()",
        "--help",
    ],
}
TOP: Final = 15
_LINE: Final = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)$", re.MULTILINE)


async def measure(plan: Plan) -> Found:
    times: dict[str, list[float]] = {name: [] for name in (*CODES, *COMMANDS)}
    for repetition in range(-1, 1 if plan.quick else plan.repetitions):
        for name, code in CODES.items():
            timed = f"from time import perf_counter as now\nbegun = now()\n{code}\nprint(now() - begun)"
            said = await output([sys.executable, "-c", timed])
            _note(times[name], repetition, float(said))
        for name, command in COMMANDS.items():
            begun = perf_counter()
            await output([sys.executable, *command])
            _note(times[name], repetition, perf_counter() - begun)
    ratios = {name: _ratio(taken, times[BASE]) for name, taken in times.items()}
    rows = [[name, median(times[name]) * 1000, ratios[name]] for name in CODES]
    rows += [[f"{name}, whole process", median(times[name]) * 1000, ratios[name]] for name in COMMANDS]
    selves = await _selves(1 if plan.quick else min(5, plan.repetitions))
    top = sorted(selves.items(), key=lambda item: -item[1][0])[:TOP]
    tables = [
        Table(title="Start-up, fresh interpreters, interleaved", head=["", "ms", f"{BASE} = 1"], rows=rows),
        Table(
            title=f"The {TOP} modules that take `{USE}` longest (-X importtime)",
            head=["", "self ms", "with what it imports first, ms"],
            rows=[[name, own / 1000, whole / 1000] for name, (own, whole) in top],
        ),
        Table(title="The same by package", head=["", "self ms", "modules"], rows=_by_package(selves)),
    ]
    targets = {"import_ratio": _ratio(times[IMPORT], times[LITERAL]), "use_ratio": ratios[USE]}
    data: dict[str, Any] = {"seconds": times, "ratios": ratios, "modules": selves, "top": top}
    return Found(tables=tables, data=data | {"targets": targets})


def _note(taken: list[float], repetition: int, seconds: float) -> None:
    if repetition >= 0:  # the first round fills the file cache
        taken.append(seconds)


def _ratio(these: list[float], those: list[float]) -> float:
    return median(a / b for a, b in zip(these, those, strict=True))


async def _selves(repetitions: int) -> dict[str, tuple[float, float]]:
    """Microseconds of every module that using a loop loads: its own, and with what it is the first to import."""
    runs: dict[str, list[tuple[int, int]]] = {}
    for _ in range(repetitions):
        said = (await output([sys.executable, "-X", "importtime", "-c", USE])).decode()
        for own, whole, name in _LINE.findall(said):
            runs.setdefault(name, []).append((int(own), int(whole)))
    return {name: (median(own for own, _ in all_), median(whole for _, whole in all_)) for name, all_ in runs.items()}


def _by_package(selves: dict[str, tuple[float, float]]) -> list[list[Any]]:
    packages: dict[str, list[float]] = {}
    for name, (own, _) in selves.items():
        packages.setdefault(name.split(".")[0], []).append(own)
    ranked = sorted(packages.items(), key=lambda item: -sum(item[1]))[:TOP]
    return [[name, sum(owns) / 1000, len(owns)] for name, owns in ranked]
