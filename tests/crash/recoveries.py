"""How a fresh process goes on after a kill: one function a series. Each ends with an answer to the next input."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from power_loop import SessionBusyError, SessionNotFoundError, SessionPendingError, StatefulAgentLoop
from power_loop.stateful_loop import StatefulResult
from tests.crash.evidence import Rows, rows_of
from tests.crash.scenario import AFTER, SESSION, STEPS, Client


@dataclass
class Report:
    """What a recovering process saw of itself."""

    problems: list[str] = field(default_factory=list)
    finished: bool = False
    witness: dict[str, Any] = field(default_factory=dict)
    """The session as the API shows it at the end."""

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


RECOVERED: Final = "recovered"
"""The point from which on a process does what any other does."""

Recovery: TypeAlias = Callable[[Client, Report, "Log"], Awaitable[None]]


@dataclass(frozen=True)
class Log:
    """What the model server was asked since a case began."""

    path: Path
    skip: int

    def lines(self) -> list[dict[str, Any]]:
        with self.path.open() as log:
            log.seek(self.skip)
            return [json.loads(line) for line in log]

    def requests(self, client: Client) -> int:
        """How many of them by this process."""
        return sum(line["body"].get("user") == client.name for line in self.lines())


async def resume(client: Client, report: Report, log: Log) -> None:
    """`resume`, twice: the second changes nothing."""
    async with client.loop() as loop:
        if not await _there(loop):
            return await _go_on(client, loop, report)
        result = await loop.resume(SESSION)
        report.check(result.status == "completed", f"resume ended as {result.status}")
        await _again_idle(client, loop, report, log)
        client.reached(RECOVERED)
        await _go_on(client, loop, report)
    return None


async def abort(client: Client, report: Report, log: Log) -> None:
    """`abort_pending` offline, twice; then a process with a model and tools sends the next input."""
    async with client.loop(llm=None, tools=None) as bare:
        if there := await _there(bare):
            open_before = [call.id for call in await bare.get_pending(SESSION)]
            aborted = await bare.abort_pending(SESSION, reason="given up by the sweep")
            report.check(aborted == open_before, f"aborted {aborted}, open were {open_before}")
            report.check(not await bare.get_pending(SESSION), "calls are open after abort_pending")
            state = (await bare.get_session(SESSION)).state
            report.check(state in ("idle", "stopped"), f"the session is {state} after abort_pending")
            before = _stored(client)
            report.check(await bare.abort_pending(SESSION) == [], "a second abort answered calls")
            report.check(_stored(client) == before, "a second abort changed the file")
            report.check(log.requests(client) == 0, "abort asked a model")
            client.reached(RECOVERED)
    async with client.loop() as loop:
        if not there:
            return await _go_on(client, loop, report)
        await _after(client, loop, report)
    return None


async def recover_resume(client: Client, report: Report, log: Log) -> None:
    """`recover("resume")`: a session whose owner died goes on; the second time nobody is left."""
    async with client.loop() as loop:
        for entry in await loop.recover("resume"):
            report.check(entry.error is None, f"recover failed: {entry.error!r}")
            report.check(
                entry.result is not None and entry.result.status == "completed", f"recover gave {entry.result}"
            )
        before, asked = _stored(client), log.requests(client)
        report.check(await loop.recover("resume") == [], "a second recover found a session")
        report.check(_stored(client) == before, "a second recover changed the file")
        report.check(log.requests(client) == asked, "a second recover asked a model")
        if await _there(loop):
            await _again_idle(client, loop, report, log)
        await _go_on(client, loop, report)


async def recover_abort(client: Client, report: Report, log: Log) -> None:
    async with client.loop(llm=None, tools=None) as bare:
        for entry in await bare.recover("abort"):
            report.check(entry.error is None and not entry.pending, f"recover left {entry}")
        before = _stored(client)
        report.check(await bare.recover("abort") == [], "a second recover found a session")
        report.check(_stored(client) == before, "a second recover changed the file")
        there = await _there(bare)
    async with client.loop() as loop:
        await (_after if there else _go_on)(client, loop, report)


async def recover_report(client: Client, report: Report, log: Log) -> None:
    """`recover("report")` writes the interruption down and lists what is open; a later resume goes on."""
    async with client.loop(llm=None, tools=None) as bare:
        for entry in await bare.recover():
            pending = await bare.get_pending(SESSION)
            report.check(entry.error is None and list(entry.pending) == pending, f"recover listed {entry}")
            state = (await bare.get_session(SESSION)).state
            expected = "interrupted_in_tools" if pending else "interrupted_before_model"
            report.check(state == expected, f"the session is {state}, not {expected}, after recover")
        before = _stored(client)
        report.check(await bare.recover() == [], "a second recover found a session")
        report.check(_stored(client) == before, "a second recover changed the file")
    await resume(client, report, log)


async def retry(client: Client, report: Report, log: Log) -> None:
    """The client does not know of recovery: it sends what was not acknowledged again, under the same request ids."""
    async with client.loop() as loop:
        await _go_on(client, loop, report)


async def retry_resume(client: Client, report: Report, log: Log) -> None:
    async with client.loop() as loop:
        await client.tell_the_rest(loop, on_pending="resume")
        await _go_on(client, loop, report)


async def retry_abort(client: Client, report: Report, log: Log) -> None:
    async with client.loop() as loop:
        await client.tell_the_rest(loop, on_pending="abort")
        await _go_on(client, loop, report)


async def new_resume(client: Client, report: Report, log: Log) -> None:
    await _new_input(client, report, "resume")


async def new_abort(client: Client, report: Report, log: Log) -> None:
    await _new_input(client, report, "abort")


async def _new_input(client: Client, report: Report, way: str) -> None:
    """Another input meets the open calls: refused with all of them, then taken in with a way out."""
    async with client.loop() as loop:
        if not await _there(loop):
            return await _go_on(client, loop, report)
        pending = await loop.get_pending(SESSION)
        if pending:
            before = _stored(client)
            try:
                await loop.send(AFTER, SESSION, request_id="after")
                report.check(False, "send went through in spite of open calls")
            except SessionPendingError as refused:
                report.check(list(refused.calls) == pending, f"refused with {refused.calls}, open are {pending}")
                report.check(len(refused.ways_out) >= 3, "the refusal names no ways out")
            report.check(_stored(client) == before, "a refused send changed the file")
        result = await client.tell(loop, "after", AFTER, on_pending=way)
        report.check(result.status == "completed", f"the next send ended as {result.status}")
        await _see(client, loop, report)
    return None


SERIES: Final[Mapping[str, Recovery]] = {
    "resume": resume,
    "abort": abort,
    "recover_resume": recover_resume,
    "recover_abort": recover_abort,
    "recover_report": recover_report,
    "retry": retry,
    "retry_resume": retry_resume,
    "retry_abort": retry_abort,
    "new_resume": new_resume,
    "new_abort": new_abort,
}

ABORTING: Final = frozenset({"abort", "recover_abort", "retry_abort", "new_abort"})
"""Give up the calls they find open."""
COMPLETING: Final = frozenset(SERIES) - {"abort", "recover_abort", "new_abort", "new_resume"}
"""Bring every input of the client to its answer."""


ZOMBIE: Final = "zombie"
"""Not a death: the owner hangs, is robbed, and comes back."""


async def by_force(client: Client, report: Report, log: Log) -> None:
    async with client.loop() as loop:
        with suppress(SessionBusyError):
            await loop.resume(SESSION, if_busy="raise")
            report.check(False, "a living owner was replaced without force")
        result = await loop.resume(SESSION, force=True)
        report.check(result.status == "completed", f"resume ended as {result.status}")
        await _go_on(client, loop, report)


LIVES: Final[Mapping[str, Recovery]] = {**SERIES, ZOMBIE: by_force}


async def _there(loop: StatefulAgentLoop) -> bool:
    try:
        await loop.get_session(SESSION)
    except SessionNotFoundError:
        return False
    return True


async def _again_idle(client: Client, loop: StatefulAgentLoop, report: Report, log: Log) -> None:
    before, asked = _stored(client), log.requests(client)
    result = await loop.resume(SESSION)
    report.check(result.stop_reason == "idle", f"a second resume ended as {result.status}, {result.stop_reason}")
    report.check(log.requests(client) == asked, "a second resume asked the model")
    report.check(_stored(client) == before, "a second resume changed the file")


async def _go_on(client: Client, loop: StatefulAgentLoop, report: Report) -> None:
    await client.tell_the_rest(loop)
    for step, text in STEPS.items():  # what is acknowledged is there for whoever asks again, and nothing is asked
        result = await loop.send(text, SESSION, request_id=step)
        report.check(result.status == "completed", f"the stored outcome of {step} is {result.status}")
    await _after(client, loop, report)


async def _after(client: Client, loop: StatefulAgentLoop, report: Report) -> None:
    result: StatefulResult = await client.tell(loop, "after", AFTER)
    report.check(result.status == "completed", f"the next send ended as {result.status}")
    await _see(client, loop, report)


async def _see(client: Client, loop: StatefulAgentLoop, report: Report) -> None:
    """Read everything, which checks every row's checksum, and note what is seen."""
    info = await loop.get_session(SESSION)
    await loop.get_turns(SESSION)
    usage = await loop.get_usage(SESSION)
    calls = await loop.get_calls(SESSION)
    report.check([s.session_id for s in await loop.list_sessions()] == [SESSION], "there are other sessions")
    report.check(not await loop.get_pending(SESSION), "calls are open at the end")
    report.check(all(not call.state.open for call in calls), "the ledger has open calls at the end")
    report.witness = {
        "state": info.state,
        "active": [asdict(m) | {"created_at": None} for m in await loop.get_messages(SESSION)],
        "all": [asdict(m) | {"created_at": None} for m in await loop.get_messages(SESSION, include_compacted=True)],
        "usage": len(usage),
    }
    report.finished = True


def _stored(client: Client) -> Rows:
    """All rows as they are now, read beside the live loop."""
    with closing(sqlite3.Connection(f"file:{client.place.database}?mode=ro", uri=True)) as connection:
        return rows_of(connection)
