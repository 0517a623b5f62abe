"""`power-loop resume`: go on from where an interrupted session stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import click

from power_loop.cli import output
from power_loop.cli.exits import Exit, Interrupted
from power_loop.cli.loading import check_tools, load_tools, model_service
from power_loop.cli.narrate import Narrator
from power_loop.cli.opening import reading
from power_loop.cli.pending import show_call, show_ways, ways_of_people
from power_loop.cli.told import Told, told
from power_loop.engine.turns import SessionState
from power_loop.errors import SessionBusyError
from power_loop.stateful_loop import StatefulAgentLoop, StatefulResult
from power_loop.store.records import SessionInfo
from power_loop.tools import ToolRegistry
from power_loop.values import InDoubt, Status

DECISIONS = ("retry", "report", "abort")


@click.command(short_help="Go on with an interrupted session.")
@click.argument("session")
@click.option("--in-doubt", type=click.Choice([str(word) for word in InDoubt]), default="report", show_default=True,
              help="What becomes of a `once` call whose outcome is unknown.")  # fmt: skip
@click.option("--decide", "decided", multiple=True, metavar="CALL=WORD",
              help=f"The same for one call: {', '.join(DECISIONS)}. May be given more than once.")  # fmt: skip
@click.option("--tools", "names", multiple=True, metavar="MODULE:NAME",
              help="A tool, a list of tools or a ToolRegistry. May be given more than once.")  # fmt: skip
@click.option("--without-tools", is_flag=True, help="Let calls of tools that are not here be answered as such.")
@click.option("--model", help="Else $POWER_LOOP_MODEL or $OPENAI_MODEL.")
@click.option("--base-url", help="Else $POWER_LOOP_BASE_URL or $OPENAI_BASE_URL, else OpenAI's.")
@told
def resume(
    told: Told,
    session: str,
    in_doubt: str,
    decided: tuple[str, ...],
    names: tuple[str, ...],
    without_tools: bool,
    model: str | None,
    base_url: str | None,
) -> int:
    """Go on with SESSION: what never ran runs, what is in doubt is treated as told, then the model is asked.

    The key of the endpoint comes from $POWER_LOOP_API_KEY or $OPENAI_API_KEY.
    """
    decisions = dict(_decision(text) for text in decided)
    given = WithWhat(tools=load_tools(names), without_tools=without_tools, model=model, base_url=base_url)
    return go_on(told, session, given, decisions, InDoubt(in_doubt))


@dataclass(frozen=True, slots=True, kw_only=True)
class WithWhat:
    """What a session is gone on with."""

    tools: ToolRegistry
    without_tools: bool
    model: str | None
    base_url: str | None


def go_on(
    told: Told,
    session: str,
    given: WithWhat,
    decisions: Mapping[str, str] | None = None,
    in_doubt: InDoubt = InDoubt.REPORT,
) -> int:
    """Resume a session and tell what becomes of it; the exit code."""
    info = asyncio.run(_looked(told, session))
    if info.state is SessionState.RUNNING:
        raise SessionBusyError(info.session_id, info.owner or "somebody", info.owner_since)
    if info.state is SessionState.IDLE and not info.pending and not decisions:
        return _idle(told, info)
    check_tools(info, given.tools, given.without_tools)
    try:
        return asyncio.run(_resume(told, info, given, decisions or {}, in_doubt))
    except KeyboardInterrupt:
        raise Interrupted(how_to_go_on(told, info.session_id)) from None


def how_to_go_on(told: Told, session: str) -> str:
    return (
        f"stopped by Ctrl-C; session {session} is safe: see `{told.line('pending', session)}`, "
        f"go on with `{told.line('resume', session)}`"
    )


def show_end(told: Told, result: StatefulResult) -> int:
    """Say how a turn ended, if not in an answer; the exit code."""
    if result.status in (Status.COMPLETED, Status.HIT_ROUND_LIMIT):
        if result.status is Status.HIT_ROUND_LIMIT:
            output.show(output.dim("(the limit of rounds was reached, so the model had to end here)"))
        return Exit.OK
    output.show(f"the turn ended as {output.coloured(result.status)}: {output.line(result.stop_reason or '')}")
    ways = ways_of_people(told, result.session_id, result.pending_tool_calls)
    if ways:
        for call in result.pending_tool_calls:
            if call.waits:
                show_call(call)
        show_ways(ways)
    output.show(f"see `{told.line('pending', result.session_id)}`")
    return Exit.WAITS


async def _looked(told: Told, session: str) -> SessionInfo:
    async with reading(told) as there:
        return await there.loop.get_session(await there.loop.find_session(session))


async def _resume(
    told: Told, info: SessionInfo, given: WithWhat, decisions: Mapping[str, str], in_doubt: InDoubt
) -> int:
    narrator = Narrator(info.pending)
    llm, tools = model_service(given.model, given.base_url), given.tools
    sinks = [] if told.json else [narrator]
    try:
        async with StatefulAgentLoop(llm=llm, db_path=told.path, create=False, tools=tools, sinks=sinks) as loop:
            result = await loop.resume(info.session_id, decisions=decisions, in_doubt=in_doubt, if_busy="raise")
    finally:
        await llm.aclose()
    if told.json:
        output.show_json(result)
        return Exit.OK if result.status in (Status.COMPLETED, Status.HIT_ROUND_LIMIT) else Exit.WAITS
    narrator.answer(result.final_text)
    return show_end(told, result)


def _idle(told: Told, info: SessionInfo) -> int:
    if told.json:
        output.show_json({"session_id": info.session_id, "status": info.status, "stop_reason": "idle"})
    else:
        output.show(f"session {info.session_id} is idle: nothing is open, the model was not asked")
    return Exit.OK


def _decision(text: str) -> tuple[str, str]:
    call, equals, word = text.rpartition("=")
    if not (call and equals and word in DECISIONS):
        raise click.UsageError(f"--decide {text!r} is not CALL=WORD with a word of {', '.join(DECISIONS)}")
    return call, word
