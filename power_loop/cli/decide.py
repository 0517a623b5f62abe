"""`power-loop abort`, `resolve`, `free`, `withdraw`: a person's decisions, which need neither a model nor tools."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from power_loop.cli import output
from power_loop.cli.opening import changing, reading
from power_loop.cli.pending import show_call
from power_loop.cli.told import Told, told


@click.command(short_help="Give up the open calls of a session.")
@click.argument("session")
@click.option("--reason", default="aborted by a person", show_default=True, help="What the model is told.")
@click.option("--dry-run", is_flag=True, help="Only show which calls would be given up.")
@told
def abort(told: Told, session: str, reason: str, dry_run: bool) -> None:
    """Give up the open calls of SESSION, so that it takes input again.

    Each call is answered once with the reason; no result is lost, nothing runs.
    """
    asyncio.run(_abort(told, session, reason, dry_run))


async def _abort(told: Told, session: str, reason: str, dry_run: bool) -> None:
    if dry_run:
        async with reading(told) as there:
            info = await there.loop.get_session(await there.loop.find_session(session))
        if told.json:
            output.show_json(
                {"session_id": info.session_id, "would_abort": [call.id for call in info.pending], "dry_run": True}
            )
            return
        output.show(f"{len(info.pending)} open call(s) of session {info.session_id} would be given up")
        for call in info.pending:
            show_call(call)
        return
    async with changing(told) as loop:
        found = await loop.find_session(session)
        ids = await loop.abort_pending(found, reason=reason)
    if told.json:
        output.show_json({"session_id": found, "aborted": ids})
    elif ids:
        output.show(f"gave up {len(ids)} call(s) of session {found}: {', '.join(map(output.line, ids))}")
        output.show(f"it takes input again: {told.line('chat', '--session', found)}")
    else:
        output.show(f"no call of session {found} is open; it takes input")


@click.command(short_help="Say what became of a call in doubt.")
@click.argument("session")
@click.argument("call")
@click.option("--result", metavar="TEXT", help="It happened, and this is its result.")
@click.option("--error", metavar="TEXT", help="It failed or never happened, as this says.")
@click.option("--retry", is_flag=True, help="The next resume runs it again, under the same idempotency key.")
@click.option("--report", is_flag=True, help="The next resume tells the model that its outcome is unknown.")
@told
def resolve(
    told: Told, session: str, call: str, result: str | None, error: str | None, retry: bool, report: bool
) -> None:
    """Say what became of CALL of SESSION, whose outcome is unknown; or what the next resume shall do with it."""
    given = [name for name, said in (("result", result), ("error", error)) if said is not None]
    given += [name for name, said in (("retry", retry), ("report", report)) if said]
    if len(given) != 1:
        raise click.UsageError("give exactly one of --result, --error, --retry, --report")
    said: dict[str, Any] = {"result": result} if result is not None else {}
    asyncio.run(_resolve(told, session, call, said | {"error": error, "retry": retry, "report": report}, given[0]))


async def _resolve(told: Told, session: str, call: str, said: dict[str, Any], word: str) -> None:
    async with changing(told) as loop:
        found = await loop.find_session(session)
        await loop.resolve(found, call, **said)
        left = await loop.get_pending(found)
    if told.json:
        output.show_json({"session_id": found, "call_id": call, "resolved": word, "pending": left})
        return
    output.show(f"call {output.line(call)} of session {found}: {_DONE[word]}")
    output.show(f"{len(left)} call(s) open; go on with: {told.line('resume', found)}")


@click.command(short_help="Let a quarantined session be taken up again.")
@click.argument("session")
@told
def free(told: Told, session: str) -> None:
    """Let SESSION be taken up again, which was quarantined because every recovery of it died.

    Find out first what kills its process: the count begins anew.
    """
    asyncio.run(_free(told, session))


async def _free(told: Told, session: str) -> None:
    async with changing(told) as loop:
        found = await loop.find_session(session)
        freed = await loop.free_session(found)
    if told.json:
        output.show_json({"session_id": found, "freed": freed})
    elif freed:
        output.show(f"session {found} can be taken up again: {told.line('resume', found)}")
    else:
        output.show(f"session {found} is not quarantined")


@click.command(short_help="Take a waiting input out of the inbox.")
@click.argument("session")
@click.argument("number", type=int)
@click.option("--dry-run", is_flag=True, help="Only show the input.")
@told
def withdraw(told: Told, session: str, number: int, dry_run: bool) -> None:
    """Take input NUMBER, as `pending` shows it, out of the inbox of SESSION: no turn will take it in."""
    asyncio.run(_withdraw(told, session, number, dry_run))


async def _withdraw(told: Told, session: str, number: int, dry_run: bool) -> None:
    async with reading(told) as there:
        found = await there.loop.find_session(session)
        waiting = next((one for one in await there.loop.get_queued(found) if one.number == number), None)
    gone = False
    if waiting is not None and not dry_run:
        async with changing(told) as loop:
            gone = await loop.withdraw_input(found, number)
    if told.json:
        output.show_json({"session_id": found, "input": waiting, "withdrawn": gone, "dry_run": dry_run})
    elif waiting is None or (not gone and not dry_run):
        output.show(f"no input {number} waits in session {found}")
    else:
        word = "would be withdrawn" if dry_run else "is withdrawn"
        output.show(f"input {number} of session {found} {word}: {output.line(waiting.text, 200)}")


_DONE = {
    "result": "settled with this result",
    "error": "settled as failed",
    "retry": "the next resume runs it again",
    "report": "the next resume tells the model that its outcome is unknown",
}
