"""What is left after a cut or a fault: looked at as it lies, then taken up by a fresh process, then looked at again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, Literal, TypeAlias

from power_loop import StatefulAgentLoop
from power_loop.store.sqlite import doctor
from power_loop.store.sqlite.doctor import Grade
from tests.power.oracle import Evidence, Problem, Rows, always, rested
from tests.power.scenario import LAST, Place, Scenario, a_loop, acknowledgement, create, heard, told

Way: TypeAlias = Literal["resume", "abort"]
TABLES: Final = ("sessions", "turns", "messages", "calls", "usage", "compactions")
_PATIENCE: Final = 60
"""Seconds until a fresh process that does not come back is said to hang."""


def judge(place: Place, of: Scenario, way: Way) -> list[Problem]:
    """Everything that is wrong with what lies in a place, and with how it is taken up.

    Taking up means for "abort": free every session without a model, then send one more input. For "resume": resume
    every session, send again whatever the app had meant to send, under the same request ids, then one more input.
    """
    before = evidence(place)
    problems = [*always(before, of), *_kept(before, of)]
    unsound = any(problem.kind == "broken" for problem in problems)
    problems += [Problem(kind, f"doctor: {words}") for kind, words in _doctored(place)]
    problems += [Problem("broken", f"{way}: {words}") for words in in_fork(lambda: _take_up(place, of, way))]
    if not unsound:
        after = evidence(place)
        complete = way == "resume"
        problems += [problem for problem in always(after, of) if problem not in problems]
        problems += [problem for problem in rested(after, of, complete=complete) if problem not in problems]
    return problems


def evidence(place: Place) -> Evidence:
    """Read a copy: opening the file itself would fold its log in, and nobody would find what the dead left."""
    rows, unsound = None, []
    if place.database.exists():
        copies = place.folder / "copy"
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir()
        for tail in ("", "-wal"):
            source = place.database.with_name(place.database.name + tail)
            if source.exists():
                shutil.copyfile(source, copies / source.name)
        try:
            with closing(sqlite3.connect(copies / place.database.name)) as connection:
                unsound = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
                unsound += [f"foreign key: {tuple(row)}" for row in connection.execute("PRAGMA foreign_key_check")]
                rows = _rows(connection)
        except sqlite3.Error as error:
            unsound.append(f"cannot be read: {error}")
        shutil.rmtree(copies)
    return Evidence(rows=rows, unsound=unsound, ledger=told(place.ledger), acknowledged=told(place.acknowledged))


def in_fork(work: Callable[[], list[str]]) -> list[str]:
    """What a fresh process found wrong. The caller has one thread, so that it may fork."""
    heard, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(heard)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_PATIENCE)
            try:
                found = work()
            except BaseException as error:  # noqa: BLE001 - whatever it raised is what was found
                found = [
                    "".join(traceback.format_exception_only(error)).strip(),
                    *traceback.format_tb(error.__traceback__)[-3:],
                ]
            with open(say, "w") as pipe:
                json.dump(found, pipe)
        finally:
            os._exit(0)
    os.close(say)
    with open(heard) as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == -signal.SIGALRM:
        return [f"a fresh process hung for {_PATIENCE} seconds"]
    found: list[str] = json.loads(answer) if status == 0 and answer else [f"a fresh process died ({status})"]
    return found


def _rows(connection: sqlite3.Connection) -> Rows:
    connection.row_factory = sqlite3.Row
    connection.execute("BEGIN")
    return {
        table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3")] for table in TABLES
    }


def _kept(found: Evidence, of: Scenario) -> Iterator[Problem]:
    """What was in the database before the scenario began is still there, letter for letter."""
    if of.base is not None:
        with closing(sqlite3.connect(f"file:{of.base}?mode=ro&immutable=1", uri=True)) as connection:
            base = set(connection.execute("SELECT session, seq, body FROM messages"))
        if not base <= {
            (row["session"], row["seq"], row["body"]) for row in (found.rows or {"messages": []})["messages"]
        }:
            yield Problem("lost", "messages of the older database are gone")


def _doctored(place: Place) -> Iterator[tuple[str, str]]:
    """What the doctor calls bad; it has a copy of its own to look at. Commits that a torn log ends before are lost."""
    if place.database.exists():
        spare = Place(place.folder / "spare")
        shutil.copytree(place.files, spare.files)
        for name, words in in_fork(
            lambda: [(f.name, f.words) for f in doctor.examine(spare.database) if f.grade is Grade.BAD]
        ):
            yield "lost" if name == "wal" else "broken", words
        shutil.rmtree(spare.folder)


def _take_up(place: Place, of: Scenario, way: Way) -> list[str]:
    return asyncio.run(_abort(place, of) if way == "abort" else _resume(place, of))


async def _abort(place: Place, of: Scenario) -> list[str]:
    problems = []
    async with a_loop(place, of, bare=True) as loop:
        for session in of.inputs:
            await create(loop, session)
            waiting = [call.id for call in await loop.get_pending(session)]
            aborted = await loop.abort_pending(session)
            if aborted != waiting or await loop.get_pending(session):
                problems.append(f"open were {waiting}, aborted {aborted}")
            if await loop.abort_pending(session):
                problems.append("a second abort found calls")
    async with a_loop(place, of) as loop:
        for session in of.inputs:
            problems += await _last(loop, session)
    return problems


async def _resume(place: Place, of: Scenario) -> list[str]:
    problems = []
    async with a_loop(place, of) as loop:
        for session in of.inputs:
            await create(loop, session)
            result = await loop.resume(session)
            if result.status != "completed":
                problems.append(f"resume ended as {result.status}")
            for step, text in of.requests(session):
                said = acknowledgement(step, await loop.send(text, session, request_id=step))
                if (said["status"], said["text"]) != ("completed", heard(text)):
                    problems.append(f"{step} sent again: {said}")
            problems += await _last(loop, session)
    return problems


async def _last(loop: StatefulAgentLoop, session: str) -> list[str]:
    result = await loop.send(LAST, session)
    said = (result.status, result.final_text)
    return [] if said == ("completed", heard(LAST)) else [f"the next input was answered by {said}"]
