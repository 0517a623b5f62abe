"""`power-loop approvals`, `approve`, `deny`, `answer`: the word of a person about calls that wait for it."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import update_wrapper
from typing import Any

import click

from power_loop.cli import output
from power_loop.cli.exits import Exit
from power_loop.cli.loading import load_tools
from power_loop.cli.opening import changing, reading
from power_loop.cli.pending import waits_for
from power_loop.cli.resume import WithWhat, go_on
from power_loop.cli.told import Told, told
from power_loop.store.records import WaitInfo
from power_loop.tools import ToolRegistry, ask_human


@click.command(short_help="List what waits for a person's approval.")
@click.argument("session", required=False)
@click.option("--all", "decided", is_flag=True, help="Also what was decided before.")
@told
def approvals(told: Told, session: str | None, decided: bool) -> None:
    """List the calls that wait for a person's approval, of SESSION or of all, with what is to run."""
    asyncio.run(_approvals(told, session, decided))


async def _approvals(told: Told, session: str | None, decided: bool) -> None:
    async with reading(told) as there:
        found = None if session is None else await there.loop.find_session(session)
        waits = await there.loop.get_approvals(found, decided=decided)
    if told.json:
        output.show_json({"approvals": waits})
        return
    if not waits:
        output.show("no call waits for an approval" if not decided else "no call ever waited for an approval")
    for wait in waits:
        show_wait(told, wait)


def show_wait(told: Told, wait: WaitInfo) -> None:
    word = "waits" if wait.decision is None else str(wait.decision)
    name = f"{output.line(wait.name)}({output.line(wait.arguments, 200)})"
    output.show(f"{output.coloured(word, f'{word:<8}')}  {name}")
    if wait.changed is not None:
        output.show(f"          with the arguments {output.line(wait.changed, 200)}")
    output.show(output.dim(f"          session {output.line(wait.session_id)}, call {output.line(wait.call_id)}"))
    if wait.reason is not None:
        output.show(f"          asked because: {output.line(wait.reason, 200)}")
    expires = "" if wait.expires_at is None else f", expires {output.moment(wait.expires_at)} UTC"
    since = f"since {output.moment(wait.asked_at)} UTC{expires}"
    output.show(output.dim(f"          arguments {wait.arguments_hash}, {since}"))
    if wait.decision is not None:
        by = "" if wait.decided_by is None else f" by {output.line(wait.decided_by)}"
        why = "" if wait.said is None else f": {output.line(wait.said, 200)}"
        output.show(output.dim(f"          {wait.decision} {output.moment(wait.decided_at)} UTC{by}{why}"))
        return
    output.show(f"          {told.line('approve', wait.session_id, wait.call_id, '--hash', wait.arguments_hash)}")
    output.show(f"          {told.line('deny', wait.session_id, wait.call_id, 'REASON')}")


def resuming(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--resume` and what that needs, handed on as `with_what`; None: it was not asked for."""

    def wrapped(
        told: Told, going_on: bool, names: tuple[str, ...], without_tools: bool, model: str | None,
        base_url: str | None, **options: Any,
    ) -> Any:  # fmt: skip
        tools = load_tools(names)
        given = WithWhat(tools=tools, without_tools=without_tools, model=model, base_url=base_url)
        return command(told, tools=tools, with_what=given if going_on else None, **options)

    update_wrapper(wrapped, command)
    for option in (
        click.option("--base-url", help="With --resume: as for `resume`."),
        click.option("--model", help="With --resume: as for `resume`."),
        click.option("--without-tools", is_flag=True, help="With --resume: as for `resume`."),
        click.option("--tools", "names", multiple=True, metavar="MODULE:NAME",
                     help="What is given is checked by these; with --resume they run."),
        click.option("--resume", "going_on", is_flag=True, help="Go on with the session at once."),
    ):  # fmt: skip
        wrapped = option(wrapped)
    return wrapped


@click.command(short_help="Let a call run that waits for an approval.")
@click.argument("session")
@click.argument("call")
@click.option("--arguments", metavar="JSON", help="Let it run with these instead of what the model wrote.")
@click.option("--hash", "seen", metavar="HASH", help="Only if its arguments are still those, as `approvals` shows it.")
@click.option("--by", metavar="NAME", help="Who decides; else your user name.")
@told
@resuming
def approve(
    told: Told,
    session: str,
    call: str,
    arguments: str | None,
    seen: str | None,
    by: str | None,
    tools: ToolRegistry,
    with_what: WithWhat | None,
) -> int:
    """Let CALL of SESSION run, once, with exactly what was asked about; the next resume runs it."""
    given = None if arguments is None else _json("--arguments", arguments)
    if given is not None and not isinstance(given, Mapping):
        raise click.UsageError("--arguments is no JSON object")

    async def decided() -> WaitInfo:
        async with changing(told, tools) as loop:
            found = await loop.find_session(session)
            return await loop.approve(found, call, arguments=given, arguments_hash=seen, by=by or me())

    return _decided(told, asyncio.run(decided()), with_what)


@click.command(short_help="Keep a call from running that waits for an approval.")
@click.argument("session")
@click.argument("call")
@click.argument("reason", required=False)
@click.option("--by", metavar="NAME", help="Who decides; else your user name.")
@told
@resuming
def deny(
    told: Told,
    session: str,
    call: str,
    reason: str | None,
    by: str | None,
    tools: ToolRegistry,
    with_what: WithWhat | None,
) -> int:
    """Keep CALL of SESSION from running, for good. The model is told so, with REASON."""

    async def decided() -> WaitInfo:
        async with changing(told, tools) as loop:
            return await loop.deny(await loop.find_session(session), call, reason, by=by or me())

    return _decided(told, asyncio.run(decided()), with_what)


@click.command(short_help="Give the result of a call that waits for it.")
@click.argument("session")
@click.argument("call")
@click.argument("value", required=False)
@click.option("--json-value", metavar="JSON", help="The result as a JSON value.")
@click.option("--error", metavar="TEXT", help="It failed, as this says.")
@told
@resuming
def answer(
    told: Told,
    session: str,
    call: str,
    value: str | None,
    json_value: str | None,
    error: str | None,
    tools: ToolRegistry,
    with_what: WithWhat | None,
) -> int:
    """Give VALUE as the result of CALL of SESSION, which the host has to answer: a question, an external tool."""
    if sum(one is not None for one in (value, json_value, error)) != 1:
        raise click.UsageError("give exactly one of VALUE, --json-value, --error")
    results = {} if error is not None else {call: value if json_value is None else _json("--json-value", json_value)}
    errors = None if error is None else {call: error}
    if ask_human.name not in tools:
        tools.add(ask_human)

    async def given() -> str:
        async with changing(told, tools) as loop:
            found = await loop.find_session(session)
            await loop.submit_results(found, results, errors=errors, go_on=False)
            return found

    found = asyncio.run(given())
    if with_what is not None:
        return go_on(told, found, with_what)
    left = asyncio.run(waits_for(told, found))
    if told.json:
        output.show_json({"session_id": found, "call_id": call, "pending": left.pending})
    else:
        output.show(f"call {output.line(call)} of session {found} has its result")
        output.show(f"{len(left.pending)} call(s) open; go on with: {told.line('resume', found)}")
    return Exit.OK


def _decided(told: Told, wait: WaitInfo, with_what: WithWhat | None) -> int:
    if with_what is not None:
        return go_on(told, wait.session_id, with_what)
    if told.json:
        output.show_json(wait)
        return Exit.OK
    by = "" if wait.decided_by is None else f" by {output.line(wait.decided_by)}"
    output.show(f"call {output.line(wait.call_id)} of session {wait.session_id}: {wait.decision}{by}")
    output.show(f"go on with: {told.line('resume', wait.session_id)}")
    return Exit.OK


def _json(option: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} is no JSON ({error})") from None


def me() -> str | None:
    """Who sits here, as far as the system knows."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()[:200] or None
    return None
