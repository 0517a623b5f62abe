"""`power-loop pending`: the open calls of a session, and every way out as a command to paste."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import click

from power_loop.cli import output
from power_loop.cli.opening import reading
from power_loop.cli.told import Told, told
from power_loop.engine.calls import OpenCall
from power_loop.engine.turns import SessionState
from power_loop.store.records import SessionInfo


@click.command(short_help="Show open calls and the ways out.")
@click.argument("session")
@told
def pending(told: Told, session: str) -> None:
    """Show the open calls of SESSION and the ways out."""
    asyncio.run(_pending(told, session))


async def _pending(told: Told, session: str) -> None:
    async with reading(told) as there:
        info = await there.loop.get_session(await there.loop.find_session(session))
        queued = await there.loop.get_queued(info.session_id)
        reasons = {wait.call_id: wait.reason for wait in await there.loop.get_approvals(info.session_id)}
    ways = ways_out(told, info)
    if told.json:
        output.show_json(
            {
                "session_id": info.session_id,
                "state": info.state,
                "recoveries": info.recoveries,
                "calls": info.pending,
                "inputs": queued,
                "ways_out": ways,
            }
        )
        return
    output.show(f"session {output.bold(output.line(info.session_id))}  {output.coloured(str(info.state))}")
    if info.owner is not None:
        output.show(f"driven by {output.line(info.owner)} since {output.moment(info.owner_since)} UTC")
    if not info.pending:
        output.show("no call is open")
    for call in info.pending:
        show_call(call, reasons.get(call.id))
    for waiting in queued:
        output.show(f"  input {waiting.number} waits ({waiting.mode})  {output.line(waiting.text, 200)}")
        output.show(output.dim(f"             since {output.moment(waiting.arrived_at)} UTC, by {waiting.sender}"))
    if info.state is SessionState.QUARANTINED:
        output.show(f"{info.recoveries} recoveries made no progress: it is left alone until somebody frees it")
    if ways:
        output.show()
        show_ways(ways)


async def waits_for(told: Told, session: str) -> SessionInfo:
    """How a session stands."""
    async with reading(told) as there:
        return await there.loop.get_session(session)


def show_ways(ways: Sequence[tuple[str, str]]) -> None:
    width = max(len(command) for command, _ in ways)
    for command, means in ways:
        output.show(f"  {command.ljust(width)}  {output.dim('# ' + means)}")


def show_call(call: OpenCall, reason: str | None = None) -> None:
    name = f"{output.line(call.name)}({output.line(call.arguments, 200)})"
    output.show(f"  {output.coloured(call.state, f'{call.state:<9}')}  {name}")
    attempts = f", started {call.attempt} time(s)" if call.attempt and not call.waits else ""
    decided = f", {call.decision}" if call.decision is not None else ""
    output.show(output.dim(f"             call {output.line(call.id)}, {MEANS[call.state]}{attempts}{decided}"))
    if reason is not None:
        output.show(f"             asked because: {output.line(reason, 200)}")
    output.show(output.dim(f"             effect {call.effect}, since {output.moment(call.since)} UTC"))


MEANS = {
    "requested": "never started: it is safe to run",
    "started": "it runs right now",
    "in_doubt": "started, and its outcome is unknown",
    "awaiting_approval": "a person decides whether it runs",
    "waiting_for_input": "the host, or a person, gives its result",
}


def ways_out(told: Told, info: SessionInfo) -> Sequence[tuple[str, str]]:
    """Commands that go on from here, each with what it does."""
    session = info.session_id
    if not info.needs_attention and not info.pending:
        return []
    people = ways_of_people(told, session, info.pending)
    if info.owner is not None:
        return people
    if info.state is SessionState.QUARANTINED:
        ways = [(told.line("free", session), "once what killed its process is mended: let it be resumed")]
        return [*ways, (told.line("abort", session), "give it up; it takes input again")]
    tools = ("--tools", "MODULE:NAME") if info.pending else ()
    ways = [*people, (told.line("resume", session, *tools), "go on; what never ran runs")]
    if info.pending:
        ways.append((told.line("abort", session), "give the open calls up"))
    for call in info.pending:
        if call.state == "in_doubt":
            ways += [
                (told.line("resolve", session, call.id, "--result", "TEXT"), "it happened: this is its result"),
                (told.line("resolve", session, call.id, "--error", "TEXT"), "it failed, or never happened"),
                (told.line("resolve", session, call.id, "--retry"), "run it again at the next resume"),
                (told.line("resolve", session, call.id, "--report"), "let the model find out what happened"),
            ]
    return ways


def ways_of_people(told: Told, session: str, calls: Iterable[OpenCall]) -> list[tuple[str, str]]:
    """What somebody can say of the calls that wait for it."""
    ways = []
    for call in calls:
        if call.decision is not None:
            continue
        if call.state == "awaiting_approval":
            ways += [
                (told.line("approve", session, call.id), "let it run as it is"),
                (told.line("deny", session, call.id, "REASON"), "keep it from running; the model is told why"),
            ]
        if call.state == "waiting_for_input":
            ways.append((told.line("answer", session, call.id, "VALUE"), "this is its result"))
    return ways
