"""The forked processes of a case: how one begins, what it does, and what it had to say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from power_loop.errors import EpochLostError
from power_loop.testing.crash.app import App, Report
from power_loop.testing.crash.case import Verdict
from power_loop.testing.crash.client import Client
from power_loop.testing.crash.every import EveryPoint, to_sweep
from power_loop.testing.crash.place import Place
from power_loop.testing.crash.points import CrashPoints, Point
from power_loop.testing.crash.scenario import Scenario

Life: TypeAlias = Callable[[App], Coroutine[Any, Any, None]]

_LOOKS: Final = 200
_A_LOOK: Final = 0.01
"""Seconds between looks at a process that was let go again."""


async def work(app: App) -> None:
    """What the scenario's client does, in one loop."""
    async with app.loop() as loop:
        await app.work(loop)


async def robbed(app: App) -> None:
    """Work until somebody else has a session of ours."""
    try:
        await work(app)
    except* EpochLostError:
        pass  # as it should be


class Processes:
    """Forks the processes of one case from this one, which must have a single thread."""

    def __init__(self, scenario: Scenario, place: Place, verdict: Verdict, url: str, prepared: Any) -> None:
        self._scenario, self.place, self._verdict = scenario, place, verdict
        self._url, self._prepared = url, prepared
        self._count = 0

    def live(self, name: str, life: Life, point: Point | None, others: int = 0) -> bool:
        """One process from fork to death, beside `others` that nothing happens to; whether it was killed."""
        first = self.begin(name, life, CrashPoints(point))
        rest = {
            f"{name}-beside-{n}": self.begin(f"{name}-beside-{n}", life, CrashPoints(), n + 1) for n in range(others)
        }
        _, status = os.waitpid(first, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and point is not None
        if not killed:
            self.heard(name, status)
        for beside, pid in rest.items():
            self.heard(beside, os.waitpid(pid, 0)[1], passing=False)
        return killed

    def begin(self, name: str, life: Life, points: CrashPoints, number: int = 0) -> int:
        """Fork it; its process id."""
        self._count += 1
        pid = os.fork()
        if pid == 0:
            self._be(name, life, points, number)
        return pid

    def let_end(self, name: str, pid: int) -> bool:
        """Wait until a robbed process has heard so; one that waits for its robber has no more to say.

        Whether it ended by itself.
        """
        for _ in range(_LOOKS):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.heard(name, status)
                return True
            time.sleep(_A_LOOK)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return False

    def heard(self, name: str, status: int, *, passing: bool = True) -> None:
        """Take in what a process that ended by itself has to say."""
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            self._verdict.problems.append(f"process {name} was stuck for {self._scenario.patience:g} s")
        elif status != 0:
            error = self.place.error(name)
            told = error.read_text() if error.exists() else f"it ended with status {status}"
            self._verdict.problems.append(f"process {name}: {told}")
        else:
            said = json.loads(self.place.report(name).read_text())
            self._verdict.problems += [f"process {name}: {problem}" for problem in said["problems"]]
            if passing:
                self._verdict.passed = to_sweep([Point(*point) for point in said["passed"]])

    def _be(self, name: str, life: Life, points: CrashPoints, number: int) -> None:
        """The forked process. Never returns."""
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, self._scenario.patience)
            report = Report()
            client = Client(
                place=self.place,
                number=number,
                process=f"{name}-{self._count}",
                reached=EveryPoint(points, self.place.database.parent),
                url=self._url,
                prepared=self._prepared,
            )
            asyncio.run(life(App(self._scenario, client, report)))
            self.place.report(name).write_text(json.dumps(asdict(report) | {"passed": points.passed}))
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may leave a fork
            self.place.error(name).write_text(traceback.format_exc(limit=-3))
        finally:
            os._exit(code)
