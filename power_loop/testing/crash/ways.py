"""How a fresh process goes on after a death: one function a way. Each ends with every session answering an input."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, TypeAlias

import pydantic_core

from power_loop.errors import SessionBusyError, SessionPendingError
from power_loop.stateful_loop import StatefulAgentLoop, StatefulResult
from power_loop.testing.crash.app import App
from power_loop.testing.crash.client import Acknowledged
from power_loop.testing.crash.place import Line, lines
from power_loop.values import InDoubt

RECOVERED: Final = "recovered"
"""The point from which on a process does what any other does."""
AFTER: Final = "the last input"
"""Its request id, in every session."""
MANY: Final = 10_000
WAITING: Final = ("awaiting_approval", "waiting_for_input")
"""How a turn ends whose calls wait for somebody outside, and how its session is shown."""


Way: TypeAlias = Callable[[App], Coroutine[Any, Any, None]]


async def resume(app: App) -> None:
    """`resume` every session, twice: the second changes nothing."""
    async with app.loop() as loop:
        for session in await _sessions(loop):
            await _resumed(app, loop, session)
        await _again_idle(app, loop)
        app.client.reached(RECOVERED)
        await _go_on(app, loop)


async def abort(app: App) -> None:
    """`abort_pending` offline, twice; then a process with a model and tools sends the next input."""
    async with app.bare() as bare:
        for session in await _sessions(bare):
            open_before = [call.id for call in await bare.get_pending(session)]
            aborted = await bare.abort_pending(session, reason="given up by the sweep")
            app.report.check(aborted == open_before, f"aborted {aborted}, open were {open_before}")
            app.report.check(not await bare.get_pending(session), "calls are open after abort_pending")
            state = (await bare.get_session(session)).state
            app.report.check(state in ("idle", "stopped"), f"session {session} is {state} after abort_pending")
            before = app.stored()
            app.report.check(await bare.abort_pending(session) == [], "a second abort answered calls")
            app.report.check(app.stored() == before, "a second abort changed the file")
        app.report.check(app.requests() == 0, "abort asked a model")
        app.client.reached(RECOVERED)
    async with app.loop() as loop:
        await _after(app, loop)


async def recover_resume(app: App) -> None:
    """`recover("resume")`: sessions whose owner died go on; the second time nobody is left."""
    async with app.loop() as loop:
        for entry in await loop.recover("resume"):
            app.report.check(entry.error is None, f"recover failed: {entry.error!r}")
            if entry.result is not None:
                await _decided(app, loop, entry.session_id, entry.result)
        before, asked = app.stored(), app.requests()
        app.report.check(await loop.recover("resume") == [], "a second recover found a session")
        app.report.check(app.stored() == before, "a second recover changed the file")
        app.report.check(app.requests() == asked, "a second recover asked a model")
        for session in await _sessions(loop):  # one whose turn had ended otherwise is not recover's
            await _resumed(app, loop, session)
        await _again_idle(app, loop)
        app.client.reached(RECOVERED)
        await _go_on(app, loop)


async def recover_abort(app: App) -> None:
    """`recover("abort")` without model and tools: what was running is given up."""
    async with app.bare() as bare:
        for entry in await bare.recover("abort"):
            app.report.check(entry.error is None and not entry.pending, f"recover left {entry}")
        await _nobody_left(app, bare, "abort")
        for session in await _sessions(bare):
            await bare.abort_pending(session)
        app.client.reached(RECOVERED)
    async with app.loop() as loop:
        await _after(app, loop)


async def recover_report(app: App) -> None:
    """`recover()` writes interruptions down and lists what is open; a later resume goes on."""
    async with app.bare() as bare:
        for entry in await bare.recover():
            pending = await bare.get_pending(entry.session_id)
            app.report.check(entry.error is None and list(entry.pending) == pending, f"recover listed {entry}")
            state = (await bare.get_session(entry.session_id)).state
            expected = "interrupted_in_tools" if pending else "interrupted_before_model"
            waits = {call.state for call in pending if call.waits and call.decision is None}
            expected = next((word for word in WAITING if word in waits), expected)
            app.report.check(state == expected, f"the session is {state}, not {expected}, after recover")
        await _nobody_left(app, bare, "report")
    await resume(app)


async def retry(app: App) -> None:
    """The client does not know of recovery: it sends what was not acknowledged again, under the same request ids."""
    async with app.loop() as loop:
        await app.work_of_all(loop, "raise")
        await _go_on(app, loop)


async def retry_resume(app: App) -> None:
    """The same, with `on_pending="resume"`."""
    async with app.loop() as loop:
        await app.work_of_all(loop, "resume")
        await _go_on(app, loop)


async def retry_abort(app: App) -> None:
    """The same, with `on_pending="abort"`."""
    async with app.loop() as loop:
        await app.work_of_all(loop, "abort")
        await _go_on(app, loop, "abort")


async def new_resume(app: App) -> None:
    """Another input meets what is open: refused with all of it, then taken in after it was resumed."""
    await _new_input(app, "resume")


async def new_abort(app: App) -> None:
    """Another input meets what is open: refused with all of it, then taken in after it was given up."""
    await _new_input(app, "abort")


async def takeover(app: App) -> None:
    """The owner hangs and is robbed by force; it comes back meanwhile."""
    async with app.loop() as loop:
        for session in await _sessions(loop):
            if (await loop.get_session(session)).state == "running":
                with suppress(SessionBusyError):
                    await loop.resume(session, if_busy="raise")
                    app.report.check(False, "a living owner was replaced without force")
            await _resumed(app, loop, session, force=True)
        await _go_on(app, loop)


TAKEOVER: Final = "takeover"
WAYS: Final[Mapping[str, Way]] = {
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
    TAKEOVER: takeover,
}
"""Each a way out of any state that a death can leave."""
ABORTING: Final = frozenset({"abort", "recover_abort", "retry_abort", "new_abort"})
"""Give up the calls they find open."""
COMPLETING: Final = frozenset(WAYS) - {"abort", "recover_abort", "new_abort", "new_resume"}
"""Bring every input of the work to its end."""


async def _sessions(loop: StatefulAgentLoop) -> list[str]:
    return sorted(info.session_id for info in await loop.list_sessions(limit=MANY))


async def _resumed(app: App, loop: StatefulAgentLoop, session: str, *, force: bool = False) -> None:
    await _decided(app, loop, session, await loop.resume(session, force=force))


async def _decided(app: App, loop: StatefulAgentLoop, session: str, result: StatefulResult) -> None:
    """Where the app wants a person to decide, one does; what somebody asked to stop meanwhile goes on."""
    while (
        result.status == "stopped"
        or (result.status == "pending_tools" and await app.client.decide(loop, session))
        or (result.status in WAITING and await _attended(app, loop, session))
    ):
        result = await loop.resume(session)
    app.report.check(not result.pending_tool_calls, f"resume ended as {result.status} with calls open")


async def _attended(app: App, loop: StatefulAgentLoop, session: str) -> bool:
    """Whether somebody has said a word, and there is something to go on with; all of it may be settled by that."""
    if app.scenario.people is None:
        return False
    await app.client.attend(loop, session, app.scenario.people)
    return True


async def _again_idle(app: App, loop: StatefulAgentLoop) -> None:
    before, asked = app.stored(), app.requests()
    spent = False
    for session in await _sessions(loop):
        result = await loop.resume(session)
        spent = spent or result.status == "budget_exceeded"  # and stays so: each resume looks, and says it again
        idle = result.stop_reason == "idle" or result.status == "budget_exceeded"
        app.report.check(idle, f"a second resume ended as {result.status}, {result.stop_reason}")
    app.report.check(app.requests() == asked, "a second resume asked the model")
    app.report.check(spent or app.stored() == before, "a second resume changed the file")


async def _nobody_left(app: App, loop: StatefulAgentLoop, policy: Any) -> None:
    before = app.stored()
    app.report.check(await loop.recover(policy) == [], "a second recover found a session")
    app.report.check(app.stored() == before, "a second recover changed the file")


async def _new_input(app: App, way: str) -> None:
    async with app.loop() as loop:
        for session in await _sessions(loop):
            pending = await loop.get_pending(session)
            if pending:
                before = app.stored()
                try:
                    await loop.send(app.scenario.after, session, request_id=AFTER)
                    app.report.check(False, "send went through in spite of open calls")
                except SessionPendingError as refused:
                    app.report.check(list(refused.calls) == pending, f"refused with {refused.calls}, open: {pending}")
                    app.report.check(len(refused.ways_out) >= 3, "the refusal names no ways out")
                app.report.check(app.stored() == before, "a refused send changed the file")
        await _after(app, loop, way)


async def _go_on(app: App, loop: StatefulAgentLoop, on_pending: str = "resume") -> None:
    """Do the rest of the work; what is acknowledged is there for whoever asks again, and nothing is asked or stored."""
    await app.work_of_all(loop, on_pending)
    before, asked = app.stored(), app.requests()
    for said in lines(app.client.place.sent):
        if said["event"] == "heard" and said["request"] is not None and await _own(loop, said):
            text = next(
                line["input"]
                for line in lines(app.client.place.sent)
                if line["event"] == "sending" and line["request"] == said["request"]
            )
            message = pydantic_core.from_json(text)
            result = await loop.send(message, said["session"], request_id=said["request"])
            known = (result.session_id, result.turn, result.status, result.final_text)
            told = (said["at"], said["turn"], said["status"], said["text"])
            app.report.check(known == told, f"the stored outcome of {said['request']} is {known}, told was {told}")
    app.report.check(app.requests() == asked, "an acknowledged input asked the model again")
    app.report.check(app.stored() == before, "an acknowledged input changed the file")
    await _after(app, loop, on_pending)


async def _own(loop: StatefulAgentLoop, said: Line) -> bool:
    """Whether a client was told that its own input is done with: one passed over goes on where the session stands."""
    turns = {turn.number: turn for turn in await loop.get_turns(said["at"])}
    turn = turns[said["turn"]]
    return turn.state == "done" and turns[turn.origin].request_id == said["request"]


async def _after(app: App, loop: StatefulAgentLoop, on_pending: str = "resume") -> None:
    """With nothing in its way any more, every session answers; then all of it is read, checksums and all."""
    sessions = await _sessions(loop)
    if not sessions:  # it died before anything was there: the app begins
        await app.work_of_all(loop, "resume")
        sessions = await _sessions(loop)
    for session in sessions:
        said = await _last_input(app, loop, session, on_pending)
        app.report.check(said.status == "completed", f"the next send ended as {said.status}")
    for session in sessions:
        app.report.witness[session] = await _seen(app, loop, session)
    app.report.finished = True


async def _last_input(app: App, loop: StatefulAgentLoop, session: str, on_pending: str) -> Acknowledged:
    settings: dict[str, Any] = {"request_id": AFTER, "on_pending": on_pending}
    try:
        return await app.client.send(loop, app.scenario.after, session, **settings)
    except SessionPendingError:
        if loop.config.in_doubt is not InDoubt.ASK and app.scenario.people is None:
            raise
        await _resumed(app, loop, session)  # what is open needs a person, who decides there
        return await app.client.send(loop, app.scenario.after, session, **settings)


async def _seen(app: App, loop: StatefulAgentLoop, session: str) -> dict[str, Any]:
    await loop.get_turns(session)
    app.report.check(not await loop.get_pending(session), "calls are open at the end")
    calls = await loop.get_calls(session)
    app.report.check(all(not call.state.open for call in calls), "the ledger has open calls at the end")
    everything = await loop.get_messages(session, include_compacted=True)
    return {
        "state": (await loop.get_session(session)).state,
        "active": [asdict(m) | {"created_at": None} for m in await loop.get_messages(session)],
        "all": [asdict(m) | {"created_at": None} for m in everything],
        "usage": len(await loop.get_usage(session)),
    }
