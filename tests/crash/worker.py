"""A process that judges cases: one JSON line in, one out. It has one thread, so that it may fork; its model server is
another process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from power_loop.testing import ServerProcess
from power_loop.testing.crash import Point
from tests.crash.case import Case, Court, Verdict

_MEMORY: Final = Path("/dev/shm")
_ROOT: Final = Path(__file__).parents[2]
_A_SERVER: Final = 400
"""Cases a model server serves: it remembers every request."""


def main() -> None:
    # A killed process loses nothing of the page cache, so the files may as well be in memory: the same test, faster.
    scratch = Path(tempfile.mkdtemp(prefix="sweep-", dir=_MEMORY if _MEMORY.is_dir() else None))
    cases = (json.loads(line) for line in sys.stdin)
    while batch := list(islice(cases, 1)):
        log = scratch / "requests"
        with ServerProcess([], log=log, options=["--policy", "tests.crash.scenario:model"]) as server:
            court = Court(server.url, log, scratch)
            for told in chain(batch, islice(cases, _A_SERVER - 1)):
                _say(court.judge(Case(series=told["series"], kills=_points(told["kills"]))))
        log.unlink()
    if not any(scratch.iterdir()):
        scratch.rmdir()  # what is left is the evidence of a case that failed


def _points(kills: list[Any]) -> tuple[Point | None, ...]:
    return tuple(None if kill is None else Point(*kill) for kill in kills)


def _say(verdict: Verdict) -> None:
    sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
    sys.stdout.flush()


class Jury:
    """Several workers. Use it as a context."""

    def __init__(self, jobs: int = 2) -> None:
        self._jobs = jobs
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for _ in range(self._jobs):
            command = [sys.executable, "-m", "tests.crash.worker"]
            worker = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
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
            for _ in range(8):  # results that come together are one commit: a point may be passed in one run only
                verdict = _ask(worker, case)
                if verdict.problems or not verdict.missed:
                    break
            return verdict
        finally:
            self._free.put(worker)


def _ask(worker: subprocess.Popen[str], case: Case) -> Verdict:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(asdict(case)) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker died over {case.command()}")
    told = json.loads(line)
    told["passed"] = [Point(*point) for point in told["passed"]]
    return Verdict(**told | {"case": case})


if __name__ == "__main__":
    main()
