"""`power-loop events`: what happened in a session, fact by fact; with `--follow` also what happens."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Final

import click

from power_loop.cli import output
from power_loop.cli.opening import reading
from power_loop.cli.told import Told, told
from power_loop.engine import facts as f
from power_loop.errors import StoreDamagedError
from power_loop.events import SessionEvent

WIDEST: Final = 100


@click.command(short_help="Show what happened, fact by fact.")
@click.argument("session")
@click.option("--after", default=0, metavar="NUMBER", type=click.IntRange(min=0), help="Begin behind this event.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C or until the session is deleted.")
@told
def events(told: Told, session: str, after: int, follow: bool) -> None:
    """Show what happened in SESSION, in order, numbered; the last number is where `--after` goes on.

    With --json one line an event.
    """
    asyncio.run(_events(told, session, after, follow))


async def _events(told: Told, prefix: str, after: int, follow: bool) -> None:
    damage = None
    async with reading(told) as there:
        found = there.loop.events(await there.loop.find_session(prefix), after=after, follow=follow)
        while True:
            try:
                event = await anext(found, None)
            except StoreDamagedError as error:
                damage = error
                if not told.json:
                    output.show(f"{found.cursor:>6}  {output.coloured('damaged')}  {output.line(str(error))}")
                continue
            if event is None:
                break
            if told.json:
                output.show_json(_as_json(event))
            else:
                output.show(_as_line(event))
    if damage is not None:
        raise damage


def _as_json(event: SessionEvent) -> dict[str, object]:
    fact = event.event
    held = {field.name: getattr(fact, field.name) for field in fields(fact)}
    if isinstance(fact, f.CallSettled) and fact.output is not None:
        held["output"] = {"characters": fact.output.characters, "data": {"bytes": len(fact.output.data)}}
    return {"number": event.number, "at": event.at, "fact": type(fact).__name__, **held}


def _as_line(event: SessionEvent) -> str:
    fact = event.event
    assert isinstance(fact, f.Fact)
    words = output.line(_words(fact), WIDEST)
    return (
        f"{event.number:>6}  {output.moment(event.at)}  turn {fact.turn:<4} {type(fact).__name__:<18} {words}".rstrip()
    )


def _words(fact: f.Fact) -> str:
    """What a person wants to know of it first."""
    match fact:
        case f.TurnBegan():
            goes_on = "" if fact.origin == fact.turn else f"goes on from turn {fact.origin} "
            return goes_on + ("" if fact.request_id is None else f"request {fact.request_id}")
        case f.CallsRequested():
            return ", ".join(f"{call.name}({call.arguments})" for call in fact.calls)
        case f.CallsStarted() | f.ApprovalsRequested() | f.ResultsAwaited():
            return f"{len(fact.calls)} call(s)"
        case f.CallSettled():
            return f"call {fact.key.seq}.{fact.key.ordinal} {fact.state}"
        case f.ApprovalDecided():
            by = "" if fact.by is None else f" by {fact.by}"
            return f"call {fact.key.seq}.{fact.key.ordinal} {fact.decision}{by}"
        case f.AnswerReceived() | f.TurnParked() | f.TurnCancelled():
            return f"{fact.status}: {fact.stop_reason}"
        case f.TurnFailed():
            return f"{fact.error_code}: {fact.error}"
        case f.HistoryCompacted():
            return f"{len(fact.folded)} messages by {fact.strategy}, {fact.before_tokens} to {fact.after_tokens} tokens"
        case f.CompactionFailed() | f.CallsAborted():
            return fact.reason
        case f.AnswerContinued() | f.Noted():
            return f"by {fact.by}"
        case f.RulesRemembered():
            return ", ".join(memory.name for memory in fact.memories)
        case _:
            return ""
