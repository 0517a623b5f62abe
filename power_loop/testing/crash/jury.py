"""Several workers, so that cases are judged side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from power_loop.testing.crash.case import Case, Verdict

_TRIES: Final = 8
"""Results that come together are one commit: a point may be passed in one run and not in the next."""


class Jury:
    """`with Jury(jobs) as jury: jury.judge(cases)`. Its workers import what this process can import."""

    def __init__(self, jobs: int = 2) -> None:
        self._jobs = jobs
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        for _ in range(self._jobs):
            worker = subprocess.Popen(
                [sys.executable, "-m", "power_loop.testing.crash.worker"],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            self._stack.push(worker)
            self._free.put(worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def judge(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Verdicts in the order of the cases."""
        with ThreadPoolExecutor(self._jobs) as pool:
            yield from pool.map(self._one, cases)

    def _one(self, case: Case) -> Verdict:
        worker = self._free.get()
        try:
            for _ in range(_TRIES):
                verdict = _ask(worker, case)
                if verdict.problems or not verdict.missed:
                    break
            return verdict
        finally:
            self._free.put(worker)


def _ask(worker: subprocess.Popen[str], case: Case) -> Verdict:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(case.as_json()) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker died over: {case.command()}")
    return Verdict.from_json(json.loads(line))
