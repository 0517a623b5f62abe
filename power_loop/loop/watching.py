"""Watchers look at a round that has ended, before the model is asked again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from llm_client.json_text import read_json
from llm_client.messages import AssistantMessage, UserMessage, parse, text_of, wire
from power_loop.engine import facts as f
from power_loop.loop.spending import budget_shares
from power_loop.loop.stop import Stop, Stopped
from power_loop.loop.turn import Turn
from power_loop.rules import Abort, CallSeen, Outcome, Pause, RoundSeen, watch_round
from power_loop.transcript.view import Entry
from power_loop.values import CallKey, Status, compact_json

LOG = logging.getLogger("power_loop.watchers")

WATCHER: Final = "watcher "
"""Under this and its name stands what a watcher remembers."""

WATCHED: Final = "watched"
"""Under this stands which round the watchers have seen last."""


async def watch(turn: Turn) -> None:
    """Ask the watchers about the round that has ended, and do what the strongest says.

    What they remember, that they have seen the round, and a nudge are one commit with what comes next; if the process
    dies before it, they are asked about the round again, and remember what they remembered before.

    Raises:
        Stopped: one pauses or aborts the session, or somebody stopped the turn meanwhile.
    """
    config, memories = turn.gear.config, turn.memories
    kept = {name: memories.get(f"{WATCHER}{name}") for name in (watcher.name for watcher in config.watchers)}
    await turn.flush()  # what they are shown is on disk
    seen = await _round(turn)
    outcome = await turn.stop.run(watch_round(config.watchers, seen, kept, timeout=config.watch_timeout))
    for problem in outcome.problems:
        LOG.warning("watcher %s of session %s %s; it is ignored", problem.name, turn.session, problem.sentence)
    await _remember(turn, outcome)
    by = ", ".join(outcome.by)
    if isinstance(outcome.verdict, Abort):
        raise Stopped(Stop(Status.CANCELLED, f"aborted by {by}: {outcome.verdict.reason}"))
    if outcome.nudge is not None:  # also where a pause beats it: the model is told when the turn goes on
        note = f.NewMessage(seq=turn.next_seq, role="user", body=wire(UserMessage(content=outcome.nudge.text)))
        await turn.record(f.Noted(**turn.stamp, message=note, by="watchers"), hold=True)
    if isinstance(outcome.verdict, Pause):
        raise Stopped(Stop(Status.STOPPED, f"paused by {by}: {outcome.verdict.reason}"))


async def _remember(turn: Turn, outcome: Outcome) -> None:
    named = {f"{WATCHER}{one.name}": outcome.memories.get(one.name) for one in turn.gear.config.watchers}
    changed = {name: memory for name, memory in named.items() if memory != turn.memories.get(name)}
    mark = {WATCHED: {"origin": turn.brief.origin, "round": turn.snapshot.rounds}}
    facts = tuple(f.Memory(name=name, memory=compact_json(memory)) for name, memory in {**changed, **mark}.items())
    await turn.record(f.RulesRemembered(**turn.stamp, memories=facts), hold=True)
    turn.watched()


async def _round(turn: Turn) -> RoundSeen:
    """The newest answer with the results of its calls."""
    answer, results = turn.view.last_answer()
    message = parse(answer.wire, None)
    assert isinstance(message, AssistantMessage)
    states = {call.key: call.state for call in await turn.brief.lookup.calls_of(answer.seq)} if results else {}
    texts = results_of(results)
    calls = []
    for ordinal, call in enumerate(message.tool_calls):
        state = states.get(CallKey(answer.seq, ordinal))
        calls.append(seen_call(call.name, call.arguments, texts.get(call.id, ""), "" if state is None else state))
    return RoundSeen(
        session_id=turn.session,
        turn=turn.brief.origin,
        round=turn.snapshot.rounds,
        calls=tuple(calls),
        text=text_of(message.content),
        spent=await budget_shares(turn),
    )


def seen_call(name: str, arguments: str, result: str, state: str) -> CallSeen:
    """A settled call as rules see it."""
    try:
        values = read_json(arguments)
    except ValueError:
        values = None
    return CallSeen(name, arguments, values if isinstance(values, dict) else None, result, str(state))


def results_of(results: Sequence[Entry]) -> dict[str, str]:
    """The texts of results by the ids of their calls."""
    found = {}
    for entry in results:
        message = parse(entry.wire, None)
        found[getattr(message, "tool_call_id", "")] = text_of(message.content)
    return found
