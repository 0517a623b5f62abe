"""Judges cases of one scenario: a client dies at a point, maybe its recovery too, a last process recovers."""

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from power_loop.testing.crash import oracle, outcome
from power_loop.testing.crash.app import App, Report
from power_loop.testing.crash.case import UNTOUCHED, Case, Verdict
from power_loop.testing.crash.client import Client, ScenarioError
from power_loop.testing.crash.evidence import Evidence, Row, Rows, SessionRows, collect, is_locked
from power_loop.testing.crash.place import Place
from power_loop.testing.crash.points import CrashPoints, Point
from power_loop.testing.crash.processes import Processes, robbed, work
from power_loop.testing.crash.remote import FakeRemote
from power_loop.testing.crash.scenario import Scenario
from power_loop.testing.crash.ways import ABORTING, AFTER, COMPLETING, TAKEOVER, WAYS
from power_loop.testing.crash.windows import outcomes, windows

TAKEN_OVER: Final = Point("loop.ask", 1)
"""Where the process that took a session over waits for the former owner to come back."""


class Court:
    """Runs cases in processes forked from this one, which must have one thread only."""

    def __init__(self, scenario: Scenario, url: str, scratch: Path) -> None:
        self.scenario, self._url, self._scratch = scenario, url, scratch
        self._prepared = self._prepare()
        warm = self._new_place()
        client = Client(place=warm, process="warm", reached=_nowhere, url=url, prepared=self._prepared)
        try:  # loads what is loaded late
            asyncio.run(asyncio.wait_for(work(App(scenario, client, Report())), scenario.patience))
        except TimeoutError:
            raise ScenarioError(
                f"the work did not end within {scenario.patience:g} s, and nothing was killed"
            ) from None
        shutil.rmtree(warm.folder)
        self._prepared = self._prepare()  # anew: what the warm run used, it may have closed
        gc.collect()
        gc.freeze()

    def judge(self, case: Case) -> Verdict:
        begun = time.monotonic()
        place = self._new_place()
        verdict = Verdict(case=case)
        processes = Processes(self.scenario, place, verdict, self._url, self._prepared)
        try:
            if case.way == UNTOUCHED:
                self._untouched(processes, verdict)
            elif case.way not in WAYS:
                raise ScenarioError(f"there is no way {case.way!r}; there are {', '.join(WAYS)}")
            elif case.way == TAKEOVER:
                self._taken_over(case, processes, verdict)
            else:
                self._killed(case, processes, verdict)
        except Exception:  # noqa: BLE001 - a fault of the kit or of a check must be told like any other
            verdict.problems.append(traceback.format_exc())
        verdict.seconds = time.monotonic() - begun
        if verdict.problems:
            verdict.evidence = str(place.folder)
        else:
            shutil.rmtree(place.folder)
        return verdict

    def _untouched(self, processes: Processes, verdict: Verdict) -> None:
        processes.live("works", work, None, self.scenario.processes - 1)
        found = collect(processes.place)
        _add(verdict, "untouched: ", self._always(found))
        verdict.requests = sorted(line["request"] for line in found.begun)

    def _killed(self, case: Case, processes: Processes, verdict: Verdict) -> None:
        way = WAYS[case.way]
        found: list[Evidence] = []
        for number, point in enumerate(case.kills):
            others = self.scenario.processes - 1 if number == 0 else 0
            died = processes.live(f"{number}-dies", work if number == 0 else way, point, others)
            verdict.kills += died
            if point is not None and not died:
                verdict.missed = True
            now = collect(processes.place)
            _add(verdict, f"after death {number + 1}: ", self._always(now))
            if found:
                _add(verdict, f"death {number + 1}: ", outcome.kept(found[-1], now))
            if point is not None:
                verdict.windows += windows(now, point)
            verdict.states.append(now.fingerprint())
            found.append(now)
        if verdict.problems:
            return
        processes.live("recovers", way, None)
        self._ended(case, processes.place, found[-1], verdict)

    def _ended(self, case: Case, place: Place, before: Evidence, verdict: Verdict) -> None:
        """Hold the end against what was there before the last process, and against the last process's own words."""
        if verdict.problems:
            return
        complete = case.way in COMPLETING
        last = collect(place).at_the_end(complete=complete)
        report = json.loads(place.report("recovers").read_text())
        if not report["finished"]:
            verdict.problems.append("the recovery did not come to its end")
            return
        _add(verdict, "end: ", self._always(last))
        _add(verdict, "end: ", outcome.kept(before, last))
        if case.way != TAKEOVER:
            _add(verdict, "end: ", outcome.effects(before, last, runs=case.way not in ABORTING))
        expected = {line["request"] for line in last.begun} if complete else {AFTER}
        _add(verdict, "end: ", outcome.rested(last, report["witness"], self.scenario.after, expected))
        verdict.outcomes += outcomes(before, last)
        verdict.requests = sorted({line["request"] for line in last.begun})

    def _taken_over(self, case: Case, processes: Processes, verdict: Verdict) -> None:
        """The first process hangs instead; another takes its sessions by force; the first comes back meanwhile."""
        (point,) = case.kills
        first = processes.begin("hangs", robbed, CrashPoints(point, signal.SIGSTOP))
        if not os.WIFSTOPPED(status := os.waitpid(first, os.WUNTRACED)[1]):
            verdict.missed = True
            return
        # Another turn of its, or a parallel call, may be in the middle of something that nobody else can do meanwhile.
        if is_locked(processes.place.database) or FakeRemote(processes.place.remote).held:
            verdict.missed = True
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)
            return
        verdict.kills += 1
        left = collect(processes.place)
        verdict.states.append(left.fingerprint())
        second = processes.begin("recovers", WAYS[TAKEOVER], CrashPoints(TAKEN_OVER, signal.SIGSTOP))
        stopped = os.WIFSTOPPED(status := os.waitpid(second, os.WUNTRACED)[1])
        before = collect(processes.place)
        os.kill(first, signal.SIGCONT)
        ended = processes.let_end("hangs", first)
        if stopped:
            now = collect(processes.place)
            _add(verdict, "", _late_writes(left, before, now))
            if ended and _robbed_of(left, before) and not any(line["event"] == "lost" for line in now.sent):
                verdict.problems.append("the former owner never heard that its session was taken")
            os.kill(second, signal.SIGCONT)
            status = os.waitpid(second, 0)[1]
        processes.heard("recovers", status)
        self._ended(case, processes.place, before, verdict)

    def _always(self, found: Evidence) -> Iterator[str]:
        yield from oracle.always(found)
        if self.scenario.check is not None:
            yield from self.scenario.check(found)

    def _prepare(self) -> Any:
        return None if self.scenario.prepare is None else self.scenario.prepare(self._url)

    def _new_place(self) -> Place:
        place = Place(Path(tempfile.mkdtemp(dir=self._scratch)))
        place.database.parent.mkdir()
        return place


def _late_writes(left: Evidence, taken: Evidence, now: Evidence) -> Iterator[str]:
    """The sessions that were taken meanwhile have not moved since, whatever their former owner tried."""
    later = {session.id: session for session in now.sessions}
    for session in _robbed_of(left, taken):
        then = later.get(session.id)
        if then is None or _moved(session) != _moved(then):
            yield f"a late write of the former owner of session {session.id} was taken"


def _robbed_of(left: Evidence, taken: Evidence) -> list[SessionRows]:
    """The sessions with a live turn that somebody else has claimed since."""
    live = {session.id: session.row["epoch"] for session in left.sessions if session.row["owner"] is not None}
    return [session for session in taken.sessions if live.get(session.id, session.row["epoch"]) < session.row["epoch"]]


def _moved(session: SessionRows) -> tuple[Row, Rows]:
    """All of a session but what anybody may write at any time: that it is to stop, and input for its inbox."""
    row = {name: value for name, value in session.row.items() if not name.startswith("stop_")}
    return row, {table: rows for table, rows in session.rows.items() if table != "inputs"}


def _add(verdict: Verdict, when: str, problems: Iterable[str]) -> None:
    verdict.problems += [f"{when}{problem}" for problem in problems]


def _nowhere(point: str) -> None:
    return None
