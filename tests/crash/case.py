"""One case: a client dies at a point, maybe its recovery too, a last process recovers, and the oracle looks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from llm_client import OpenAIChatService
from power_loop import EpochLostError
from power_loop.testing.crash import CrashPoints, Point
from tests.crash import oracle
from tests.crash.evidence import Evidence, collect
from tests.crash.points import EveryPoint, to_sweep
from tests.crash.recoveries import ABORTING, COMPLETING, LIVES, ZOMBIE, Log, Report
from tests.crash.scenario import Client, Place
from tests.crash.windows import windows

UNTOUCHED: Final = "untouched"
"""The series of one process that nothing happens to."""
TAKEN_OVER: Final = Point("loop.ask", 1)
"""Where the process that took a session over waits for the former owner to come back."""
PATIENCE: Final = 30
"""Seconds after which a client hangs."""

Life: TypeAlias = Callable[[Client], Coroutine[Any, Any, Report | None]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`kills`: where the first process dies, and maybe its recovery. None is nowhere."""

    series: str
    kills: tuple[Point | None, ...]

    def command(self) -> str:
        points = " ".join(f"--kill {point.name}:{point.nth}" for point in self.kills if point is not None)
        return f"python -m tests.crash.sweep --series {self.series} {points}"


@dataclass(kw_only=True)
class Verdict:
    case: Case
    problems: list[str] = field(default_factory=list)
    deaths: int = 0
    missed: bool = False
    """A point was not passed this time."""
    windows: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    """States of calls that were found open, and what became of them."""
    states: list[str] = field(default_factory=list)
    """The fingerprint of what each death left."""
    passed: list[Point] = field(default_factory=list)
    """What the last process passed."""
    seconds: float = 0.0


class Court:
    """Runs cases against one model server, in processes forked from this one, which must have one thread only."""

    def __init__(self, url: str, log: Path, scratch: Path) -> None:
        self._log = log
        log.touch()
        self._scratch = scratch
        self._llm = OpenAIChatService(model="scripted", base_url=url, api_key="key", attempts=1)
        self._numbered = 0
        warm = Place(Path(tempfile.mkdtemp(dir=scratch)))
        warm.database.parent.mkdir()
        asyncio.run(_work(Client(warm, "warm", self._llm, CrashPoints())))  # loads what is loaded late
        shutil.rmtree(warm.folder)
        gc.collect()
        gc.freeze()

    def judge(self, case: Case) -> Verdict:
        begun = time.monotonic()
        place = Place(Path(tempfile.mkdtemp(dir=self._scratch)))
        place.database.parent.mkdir()
        verdict = Verdict(case=case)
        try:
            if case.series == UNTOUCHED:
                self._live(place, "works", _work, None, verdict)
            elif case.series == ZOMBIE:
                self._judge_zombie(case, place, verdict)
            else:
                self._judge(case, place, verdict)
        except Exception:  # noqa: BLE001 - a fault of the sweep itself must be told like any other
            verdict.problems.append(traceback.format_exc())
        verdict.seconds = time.monotonic() - begun
        if not verdict.problems:
            shutil.rmtree(place.folder)
        return verdict

    def _judge(self, case: Case, place: Place, verdict: Verdict) -> None:
        log = Log(self._log, self._log.stat().st_size)
        runs = case.series not in ABORTING
        found: list[Evidence] = []
        for number, point in enumerate(case.kills):
            life = _work if number == 0 else _recovery(case.series, log)
            died = self._live(place, f"{number}-dies", life, point, verdict)
            verdict.deaths += died
            if point is not None and not died:
                verdict.missed = True
            now = collect(place)
            _add(verdict, f"after death {number + 1}: ", oracle.always(now, log.lines()))
            if found:
                _add(verdict, f"death {number + 1}: ", oracle.kept(found[-1], now))
            if point is not None:
                verdict.windows += windows(now, point)
            verdict.states.append(now.fingerprint())
            found.append(now)
        if verdict.problems:
            return
        name = "recovers"
        self._live(place, name, _recovery(case.series, log), None, verdict)
        if verdict.problems:
            return
        last = collect(place)
        report = json.loads(place.report(name).read_text())
        _add(verdict, "recovery: ", report["problems"])
        if not report["finished"]:
            verdict.problems.append("the recovery did not come to its end")
            return
        _add(verdict, "end: ", oracle.always(last, log.lines()))
        _add(verdict, "end: ", oracle.kept(found[-1], last))
        _add(verdict, "end: ", oracle.effects(found[-1], last, runs=runs))
        _add(verdict, "end: ", oracle.rested(last, report["witness"], log.lines(), complete=case.series in COMPLETING))
        after = {(call["seq"], call["ordinal"]): call["state"] for call in last.table("calls")}
        for call in found[-1].open_calls:
            verdict.outcomes.append(f"{call['effect']} {call['state']} -> {after[call['seq'], call['ordinal']]}")

    def _judge_zombie(self, case: Case, place: Place, verdict: Verdict) -> None:
        """The first process hangs instead; another takes the session by force; the first comes back meanwhile."""
        log = Log(self._log, self._log.stat().st_size)
        first = self._begin(place, "hangs", _robbed, CrashPoints(case.kills[0], signal.SIGSTOP))
        if not os.WIFSTOPPED(status := os.waitpid(first, os.WUNTRACED)[1]):
            verdict.missed = True
            _heard(place, "hangs", status, verdict)
            return
        verdict.deaths += 1
        life = _recovery(ZOMBIE, log)
        second = self._begin(place, "recovers", life, CrashPoints(TAKEN_OVER, signal.SIGSTOP))
        stopped = os.WIFSTOPPED(status := os.waitpid(second, os.WUNTRACED)[1])
        before = collect(place)
        os.kill(first, signal.SIGCONT)
        _heard(place, "hangs", os.waitpid(first, 0)[1], verdict)
        if stopped:
            if collect(place).rows != before.rows:
                verdict.problems.append("a late write of the former owner was taken")
            os.kill(second, signal.SIGCONT)
            status = os.waitpid(second, 0)[1]
        _heard(place, "recovers", status, verdict)
        if verdict.problems:
            return
        last = collect(place)
        report = json.loads(place.report("recovers").read_text())
        _add(verdict, "recovery: ", report["problems"])
        _add(verdict, "end: ", oracle.always(last, log.lines()))
        _add(verdict, "end: ", oracle.rested(last, report["witness"], log.lines(), complete=True))

    def _live(self, place: Place, name: str, life: Life, point: Point | None, verdict: Verdict) -> bool:
        """One process, from fork to death; whether it was killed."""
        _, status = os.waitpid(self._begin(place, name, life, CrashPoints(point)), 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and point is not None:
            return True
        _heard(place, name, status, verdict)
        return False

    def _begin(self, place: Place, name: str, life: Life, points: CrashPoints) -> int:
        self._numbered += 1
        pid = os.fork()
        if pid == 0:
            _be(place, f"{name}-{self._numbered}", name, self._llm, life, points)
        return pid


def _heard(place: Place, name: str, status: int, verdict: Verdict) -> None:
    """Take in what a process that ended by itself has to say."""
    if status != 0:
        error = place.error(name)
        told = error.read_text() if error.exists() else f"it ended with status {status}"
        verdict.problems.append(f"process {name}: {told}")
    else:
        passed = json.loads(place.report(name).read_text())["passed"]
        verdict.passed = to_sweep([Point(*point) for point in passed])


def _be(place: Place, user: str, name: str, llm: OpenAIChatService, life: Life, points: CrashPoints) -> None:
    """The forked process. Never returns."""
    code = 1
    try:
        signal.alarm(PATIENCE)
        client = Client(place, user, llm, EveryPoint(points, place.database.parent))
        report = asyncio.run(life(client))
        told = {} if report is None else asdict(report)
        place.report(name).write_text(json.dumps(told | {"passed": points.passed}))
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may leave a fork
        place.error(name).write_text(traceback.format_exc())
    finally:
        os._exit(code)


async def _work(client: Client) -> None:
    async with client.loop() as loop:
        await client.tell_the_rest(loop)


async def _robbed(client: Client) -> None:
    """Work until somebody else has the session."""
    with suppress(EpochLostError):
        await _work(client)
        raise AssertionError("it never heard that the session was taken")


def _recovery(series: str, log: Log) -> Life:
    async def recover(client: Client) -> Report:
        report = Report()
        await LIVES[series](client, report, log)
        return report

    return recover


def _add(verdict: Verdict, when: str, problems: Any) -> None:
    verdict.problems += [f"{when}{problem}" for problem in problems]
