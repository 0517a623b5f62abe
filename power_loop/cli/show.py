"""`power-loop show`: a session from its first word, with what became of each call. Damage is shown, never a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import click

from power_loop.cli import output
from power_loop.cli.compact import show_compactions
from power_loop.cli.opening import Reading, reading
from power_loop.cli.told import Told, told
from power_loop.engine.calls import WAITING_FOR_INPUT, CallState
from power_loop.errors import OutputNotFoundError, StoreDamagedError
from power_loop.stateful_loop import SessionUsage
from power_loop.store.records import CallInfo, CompactionInfo, SessionInfo, StoredMessage, TurnInfo, WaitInfo

T = TypeVar("T")

LONGEST_RESULT: Final = 300


@dataclass(kw_only=True)
class Session:
    """All that can be read of a session; `damage` is the rest."""

    id: str
    info: SessionInfo | None
    turns: Sequence[TurnInfo]
    messages: Sequence[StoredMessage]
    calls: Sequence[CallInfo]
    usage: SessionUsage
    compactions: Sequence[CompactionInfo]
    approvals: Sequence[WaitInfo] = ()
    wholes: Mapping[int, str] = field(default_factory=dict)
    """Of results that the model was shown a part of, by the numbers of their messages; where asked for."""
    damage: list[str] = field(default_factory=list)


@click.command(short_help="Show what was said and what was called.")
@click.argument("session")
@click.option("--compacted", is_flag=True, help="Messages that were folded away, too.")
@click.option("--calls", is_flag=True, help="The ledger: every call with its times and attempts.")
@click.option("--full", is_flag=True, help="Long results whole.")
@told
def show(told: Told, session: str, compacted: bool, calls: bool, full: bool) -> None:
    """Show the transcript of SESSION: messages, calls and their states, turns, usage."""
    asyncio.run(_show(told, session, compacted=compacted, ledger=calls, full=full))


async def _show(told: Told, prefix: str, *, compacted: bool, ledger: bool, full: bool) -> None:
    async with reading(told) as there:
        read = await _read(there, prefix, compacted, full)
    if told.json:
        output.show_json(
            {
                "session": read.info or {"session_id": read.id},
                "turns": read.turns,
                "messages": read.messages,
                "calls": read.calls,
                "usage": read.usage,
                "compactions": read.compactions,
                "approvals": read.approvals,
                "damage": read.damage,
            }
            | ({"whole_results": {str(seq): text for seq, text in read.wholes.items()}} if full else {})
        )
        return
    _head(read)
    _transcript(read, full=full)
    if compacted and read.compactions:
        output.show()
        show_compactions(list(read.compactions))
    if ledger:
        _ledger(read)
    if read.damage:
        output.show()
        for what in read.damage:
            output.show(f"{output.coloured('damaged')}: {output.line(what)}")
        output.show(f"`{told.line('doctor')}` lists every row that is not what was written")


async def _read(there: Reading, prefix: str, compacted: bool, full: bool) -> Session:
    loop = there.loop
    found = await loop.find_session(prefix)
    messages = await loop.get_messages(found, include_compacted=compacted, mark_damage=True)
    damage = [f"message {message.seq} is not what was written" for message in messages if message.state == "damaged"]

    async def sound(asked: Awaitable[T], otherwise: T) -> T:
        try:
            return await asked
        except StoreDamagedError as error:
            damage.append(error.problem)
            return otherwise
        except OutputNotFoundError:
            return otherwise  # a text that only looks like a short result

    wholes = {}
    for message in messages if full else ():
        if message.handle is not None:
            whole = await sound(loop.recall_output(found, message.handle), None)
            if whole is not None:
                wholes[message.seq] = whole
    no_turns: Sequence[TurnInfo] = ()
    no_calls: Sequence[CallInfo] = ()
    no_compactions: Sequence[CompactionInfo] = ()
    no_waits: Sequence[WaitInfo] = ()
    nobody: SessionInfo | None = None
    return Session(
        id=found,
        info=await sound(loop.get_session(found), nobody),
        turns=await sound(loop.get_turns(found), no_turns),
        messages=messages,
        calls=await sound(loop.get_calls(found), no_calls),
        usage=await sound(loop.get_usage(found), SessionUsage(())),
        compactions=await sound(loop.get_compactions(found), no_compactions),
        approvals=await sound(loop.get_approvals(found, decided=True), no_waits),
        wholes=wholes,
        damage=damage,
    )


def _head(read: Session) -> None:
    info = read.info
    output.show(f"session {output.bold(output.line(read.id))}")
    if info is not None:
        look = ", needs attention" if info.needs_attention else ""
        marks = [word for word, true in (("archived", info.archived), ("closed", info.closed)) if true]
        state = output.coloured(str(info.state), ", ".join([str(info.state) + look, *marks]))
        output.show(f"  state    {state}")
        output.show(f"  time     {output.moment(info.created_at)} to {output.moment(info.updated_at)} UTC")
        folded = info.messages - info.active_messages
        unseen = f", {folded} of them folded or not there yet" if folded else ""
        held = f"{output.count(info.turns, 'turn')}, {output.count(info.messages, 'message')}"
        output.show(f"  holds    {held}{unseen}")
        _context(info)
    if len(read.usage):
        total, cost = read.usage.total, read.usage.cost
        price = "cost unknown" if cost is None else f"cost {cost:.4f}"
        output.show(
            f"  usage    {output.count(len(read.usage), 'model call')}, {total.prompt_tokens:,} prompt and "
            f"{total.completion_tokens:,} completion tokens, {price}"
        )


def _context(info: SessionInfo) -> None:
    failed = f", {output.count(info.failed_compactions, 'compaction')} failed" if info.failed_compactions else ""
    if info.context_left is not None:
        counted = f"{info.context_tokens:,} of {info.context_window:,} tokens"
        output.show(f"  context  {info.context_left:g} % left ({counted}){failed}")
    elif failed:
        output.show(f"  context  not counted{failed}")


def _transcript(read: Session, *, full: bool) -> None:
    calls: dict[int, list[CallInfo]] = {}
    for call in read.calls:
        calls.setdefault(call.key.seq, []).append(call)
    turns = {turn.number: turn for turn in read.turns}
    results = {message.seq: message for message in read.messages}
    shown_below = {call.result_seq for call in read.calls if call.key.seq in results}
    asked = {wait.key: wait for wait in read.approvals}
    hosts = {call.key for call in (read.info.pending if read.info else ()) if call.state == WAITING_FOR_INPUT}
    at = 0
    for message in read.messages:
        if message.turn > at:
            for number in range(at + 1, message.turn + 1):
                _turn(turns.get(number), number)
            at = message.turn
        if message.seq not in shown_below:
            _message(message, read.wholes, full=full)
            for call in calls.get(message.seq, ()):
                _call(call, results, read.wholes, hosts=call.key in hosts, full=full)
                if call.key in asked:
                    _approval(asked[call.key])
    for number in range(at + 1, max(turns, default=0) + 1):
        _turn(turns.get(number), number)


def _turn(turn: TurnInfo | None, number: int) -> None:
    output.show()
    if turn is None:
        output.show(output.bold(f"turn {number}"))
        return
    origin = f" goes on from turn {turn.origin}" if turn.origin != turn.number else ""
    ended = turn.status or str(turn.state)
    reason = "" if ended == "completed" else output.line(turn.error or turn.stop_reason or "", 120)
    why = f" ({reason})" if reason else ""
    counts = f"{output.count(turn.rounds, 'round')}, {output.count(turn.tool_calls, 'call')}"
    time = output.lasted(turn.started_at, turn.ended_at)
    head = output.bold(f"turn {number}{origin}: ") + output.coloured(ended) + why
    output.show(f"{head}  {output.dim(', '.join(filter(None, (counts, time))))}")


def _message(message: StoredMessage, wholes: Mapping[int, str], *, full: bool) -> None:
    place = output.dim(f"{message.seq:>4}")
    if message.state == "damaged":
        output.show(f"{place}  {output.coloured('damaged')}    this row is not what was written")
        return
    role = "note" if message.note else message.role
    text = _text(message, wholes)
    if message.role == "tool" and not full:
        text = _shortened(text)
    folded = output.dim(f"(folded by compaction {message.folded_by}) ") if message.folded_by is not None else ""
    if text or folded or not message.tool_calls:
        output.show(f"{place}  {role:<9}  {folded}{output.indented(text, 17)}")
    else:
        output.show(f"{place}  {role}")


def _approval(wait: WaitInfo) -> None:
    """What a person was asked about a call, and said."""
    by = "" if wait.decided_by is None else f" by {output.line(wait.decided_by)}"
    instead = "" if wait.changed is None else f" with {output.line(wait.changed, 200)}"
    output.show(output.dim(f"         approval: {wait.decision or 'nobody has decided'}{by}{instead}"))


def _call(
    call: CallInfo,
    results: Mapping[int, StoredMessage],
    wholes: Mapping[int, str],
    *,
    hosts: bool,
    full: bool,
) -> None:
    state = "in doubt or running" if call.state is CallState.STARTED else str(call.state)
    if hosts:
        state = WAITING_FOR_INPUT
    by = f" by {call.settled_by}" if call.settled_by is not None and call.settled_by != "run" else ""
    wanted = f"{output.line(call.name)}({output.line(call.arguments, 200)})"
    output.show(f"      -> {wanted}  {output.coloured(call.state, state)}{by}  {output.dim(output.line(call.id))}")
    result = None if call.result_seq is None else results.get(call.result_seq)
    if result is None:
        return
    if result.state == "damaged":
        text = f"{output.coloured('damaged')}: this row is not what was written"
    else:
        whole = _text(result, wholes)
        text = output.indented(whole if full else _shortened(whole), 9)
    output.show(f"{output.dim(f'{result.seq:>4}')}   = {text}")


def _ledger(read: Session) -> None:
    output.show()
    rows = [
        [
            f"{call.key.seq}.{call.key.ordinal}", output.line(call.id), output.line(call.name), str(call.state),
            str(call.settled_by or ""), str(call.effect), str(call.attempt), output.moment(call.requested_at),
            output.lasted(call.started_at, call.settled_at),
        ]
        for call in read.calls
    ]  # fmt: skip
    output.table(["PLACE", "CALL", "NAME", "STATE", "BY", "EFFECT", "STARTS", "REQUESTED (UTC)", "TOOK"], rows)


def _text(message: StoredMessage, wholes: Mapping[int, str]) -> str:
    """The text, and a word for each part that is none."""
    if message.seq in wholes:
        return wholes[message.seq]
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(getattr(part, "text", f"[{part.type}]") for part in content)


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_RESULT:
        return text
    return f"{text[:LONGEST_RESULT]} [... {len(text):,} characters, --full shows all]"
