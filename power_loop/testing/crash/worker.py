"""A process that judges cases: one JSON line in, one out. It has one thread, so that it may fork; a model server is
another process."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from power_loop.testing.crash.case import Case, Verdict
from power_loop.testing.crash.court import Court
from power_loop.testing.crash.scenario import Scenario, found
from power_loop.testing.process import ServerProcess

_MEMORY: Final = Path("/dev/shm")
_A_SERVER: Final = 400
"""Cases a model server serves: it remembers every request."""


class Worker:
    """Keeps what is dear to make of a scenario from case to case."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._name = ""
        self._stack = ExitStack()
        self._left = 0
        self._court: Court | None = None

    def judge(self, case: Case) -> Verdict:
        try:
            return self._of(case.scenario).judge(case)
        except Exception:  # noqa: BLE001 - whatever is wrong with a scenario, whoever asked must hear of it
            return Verdict(case=case, problems=[traceback.format_exc()])

    def close(self) -> None:
        self._stack.close()

    def _of(self, name: str) -> Court:
        if self._court is None or name != self._name or not self._left:
            self._stack.close()
            self._court = None
            scenario = found(name)
            self._court, self._name = Court(scenario, self._url(scenario), self._scratch), name
            self._left = _A_SERVER
        self._left -= bool(self._court.scenario.server)
        return self._court

    def _url(self, scenario: Scenario) -> str:
        if scenario.server is None:
            return ""
        server = ServerProcess([], options=["--policy", scenario.server])
        return self._stack.enter_context(server).url


def main() -> None:
    # A killed process loses nothing of the page cache, so the files may as well be in memory: the same test, faster.
    scratch = Path(tempfile.mkdtemp(prefix="sweep-", dir=_MEMORY if _MEMORY.is_dir() else None))
    worker = Worker(scratch)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an app prints must not stand between the verdicts
    try:
        for line in sys.stdin:
            verdict = worker.judge(Case.from_json(json.loads(line)))
            out.write(json.dumps(verdict.as_json()) + "\n")
            out.flush()
    finally:
        worker.close()
    if not any(scratch.iterdir()):
        scratch.rmdir()  # what is left is the evidence of a case that failed


if __name__ == "__main__":
    main()
