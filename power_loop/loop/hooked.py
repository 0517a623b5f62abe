"""The points at which hooks see a turn, its rounds, its requests and answers, and its history."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import power_loop.hooks as h
from llm_client.messages import AssistantMessage, UserMessage, parse, text_of, wire
from llm_client.service import Answer, ChatRequest
from power_loop.compaction.ladder import Compaction
from power_loop.engine import facts as f
from power_loop.engine.decide import (
    AskApprovals,
    AskModel,
    CloseRound,
    Compact,
    Park,
    RunCalls,
    Step,
    TakeInputs,
    Watch,
)
from power_loop.loop.hooked_calls import batch_end, batch_start
from power_loop.loop.hooking import appended, passed, retold, where
from power_loop.loop.last_word import Objection
from power_loop.loop.model import Heard
from power_loop.loop.stop import Stopped
from power_loop.loop.turn import Turn

BY: Final = "hooks"
"""Who wrote a note of `TURN_END`, and which strategy a compaction failed with that guards skipped."""

HOOK: Final = "hook"
"""The model of an answer that a guard gave in its place."""

RECALLED: Final = "[From memory]"
"""The first line of a note of `MEMORY_RECALL`: no user wrote it, and a resume finds that it is there."""


async def turn_start(turn: Turn) -> None:
    """`TURN_START`. Raises `Stopped`: a guard says so."""
    if turn.gear.hooks.at(h.TURN_START):
        texts = tuple(text for seq, text in _inputs(turn))
        resumed = turn.brief.origin < turn.snapshot.turn
        view = h.TurnStart(**where(turn, turn.snapshot.rounds), inputs=texts, resumed=resumed)
        await passed(turn, h.TURN_START, view)


async def before(turn: Turn, step: Step) -> bool:
    """Pass the points that lie before a step; False where history has grown, and the next step may be another.

    Raises:
        Stopped: a guard says so, or said so when it saw a result.
    """
    if turn.gear.hooks.silent:
        return True
    turn.passed.check()
    match step:
        case AskApprovals() | RunCalls():
            turn.passed.acting = True
            await batch_start(turn)
        case CloseRound() | Park():
            turn.passed.acting = True
        case Watch() | TakeInputs():
            await _round_end(turn)
        case AskModel() | Compact():
            await _round_end(turn)
            if await _recalled(turn):
                return False
            await _round_start(turn)
    return True


async def _round_start(turn: Turn) -> None:
    begins = turn.snapshot.rounds + 1
    if turn.passed.round < begins:
        turn.passed.round = begins
        if turn.gear.hooks.at(h.ROUND_START):
            await passed(turn, h.ROUND_START, h.RoundStart(**where(turn)))


async def _round_end(turn: Turn) -> None:
    if turn.passed.acting:
        turn.passed.acting = False
        await batch_end(turn)
        if turn.gear.hooks.at(h.ROUND_END):
            await passed(turn, h.ROUND_END, h.RoundEnd(**where(turn, turn.snapshot.rounds)))


async def _recalled(turn: Turn) -> bool:
    """Ask what the app remembers that belongs to input which nobody has asked about; whether there is a note of it."""
    if not turn.gear.hooks.at(h.MEMORY_RECALL):
        return False
    memory = turn.passed
    if memory.recalled is None:
        memory.recalled = _asked_about(turn)
    asked = {seq: text for seq, text in _inputs(turn) if seq > memory.recalled}
    if not asked:
        return False
    round = turn.snapshot.rounds
    view = h.MemoryRecall(**where(turn, round), text="\n\n".join(asked.values()))
    ruling = await passed(turn, h.MEMORY_RECALL, view)
    memory.recalled = max(asked)
    if not ruling.view.recalled:
        return False
    text = await appended(turn, "user", ruling.view.recalled, round=round)
    body = wire(UserMessage(content=f"{RECALLED}\n{text}"))
    note = f.NewMessage(seq=turn.next_seq, role="user", body=body)
    await turn.record(f.Noted(**turn.stamp, message=note, by="memory"))
    turn.gear.world.reached("loop.recalled")
    return True


def _asked_about(turn: Turn) -> int:
    """Up to which message an earlier turn has asked: all that a model has answered, or that has its note."""
    if turn.snapshot.rounds:
        return max(turn.requests, default=0)
    return max((entry.seq for entry in turn.view if entry.seq in turn.requests and _is_recalled(entry.wire)), default=0)


def _inputs(turn: Turn) -> list[tuple[int, str]]:
    """The texts of the input the turn works on, by their sequence numbers."""
    return [
        (entry.seq, _text(entry.wire))
        for entry in turn.view
        if entry.seq in turn.requests and not _is_recalled(entry.wire)
    ]


def _text(body: str) -> str:
    content = parse(body).content
    return text_of(content)


def _is_recalled(body: str) -> bool:
    return body.startswith(f'{{"role":"user","content":{json.dumps(RECALLED)[:-1]}\\n')


async def model_request(turn: Turn, request: ChatRequest) -> ChatRequest | Heard:
    """`MODEL_REQUEST`: what to ask; or the answer in whose place nobody is asked."""
    if not turn.gear.hooks.at(h.MODEL_REQUEST):
        return request
    ruling = await passed(turn, h.MODEL_REQUEST, h.ModelRequest(**where(turn), request=request))
    if isinstance(ruling.verdict, h.Skip):
        message = AssistantMessage(content=ruling.verdict.text)
        answer = Answer(message=message, finish_reason="skipped", usage=None, model=HOOK)
        return Heard(answer, wire(message), None, skipped=True)
    if isinstance(ruling.verdict, h.ReplaceRequest):
        return replace(ruling.verdict.request, extra=dict(ruling.verdict.request.extra))
    return request


async def model_answer(turn: Turn, heard: Heard, milliseconds: int) -> Heard | None:
    """`MODEL_ANSWER`: what is to be stored of an answer; None: nothing, and the model is asked once more."""
    if not turn.gear.hooks.at(h.MODEL_ANSWER):
        return heard
    memory, round = turn.passed, turn.snapshot.rounds + 1
    retries = memory.dropped[1] if memory.dropped[0] == round else 0
    answer = heard.answer
    view = h.ModelAnswer(
        **where(turn),
        text=_words(heard),
        calls=tuple(h.AskedCall(name=call.name, arguments=call.arguments) for call in answer.message.tool_calls),
        usage=answer.usage,
        retries=retries,
    )
    cost = turn.gear.cost(answer.model, answer.usage)
    spent = f.ModelCall(purpose="dropped", model=answer.model, usage=answer.usage, milliseconds=milliseconds, cost=cost)
    async with paid(turn, spent):
        ruling = await passed(turn, h.MODEL_ANSWER, view)
    if isinstance(ruling.verdict, h.Retry):
        memory.dropped = (round, retries + 1)
        await turn.record(f.AnswerDropped(**turn.stamp, model_call=spent))
        return None
    return _saying(heard, ruling.view.text)


async def answer_appended(turn: Turn, heard: Heard, spent: f.ModelCall) -> tuple[Heard, f.ModelCall]:
    """`MESSAGE_APPEND` of an answer. Raises `Stopped`: it is not stored; what it cost is."""
    if not turn.gear.hooks.at(h.MESSAGE_APPEND):
        return heard, spent
    async with paid(turn, spent):
        told = _saying(heard, await appended(turn, "assistant", _words(heard)))
    return told, replace(spent, context=turn.context(spent.usage, told.body))


async def turn_end(turn: Turn, text: str) -> Objection | None:
    """`TURN_END`: what the model is told in a note if the turn is to go on.

    A last word that is there is not lost: whoever stops the turn in here finds it completed.
    """
    if not turn.gear.hooks.at(h.TURN_END):
        return None
    view = h.TurnEnd(**where(turn), text=text, retries=turn.passed.continued)
    try:
        ruling = await passed(turn, h.TURN_END, view)
    except Stopped:
        return None
    if not isinstance(ruling.verdict, h.Retry):
        return None
    turn.passed.continued += 1
    return Objection(await appended(turn, "user", ruling.verdict.reason), BY)


async def compaction_start(turn: Turn, *, full: bool) -> str | None:
    """`COMPACTION_START`: why nothing is to be folded; None: go on."""
    if not turn.gear.hooks.at(h.COMPACTION_START):
        return None
    tokens, window = turn.snapshot.context_tokens, turn.limits.window
    view = h.CompactionStart(**where(turn), tokens=tokens, window=window, full=full)
    ruling = await passed(turn, h.COMPACTION_START, view)
    return ruling.verdict.text if isinstance(ruling.verdict, h.Skip) else None


async def compaction_end(turn: Turn, found: Compaction) -> None:
    """`COMPACTION_END`: history was folded."""
    if turn.gear.hooks.at(h.COMPACTION_END):
        view = h.CompactionEnd(
            **where(turn),
            strategy=found.strategy,
            folded=len(found.folded),
            before_tokens=found.before_tokens,
            after_tokens=found.after_tokens,
        )
        await passed(turn, h.COMPACTION_END, view)


@asynccontextmanager
async def paid(turn: Turn, spent: f.ModelCall) -> AsyncIterator[None]:
    """Whoever stops the turn in here throws an answer away; what it cost is recorded."""
    try:
        yield
    except Stopped:
        dropped = replace(spent, purpose="dropped", context=None)
        await turn.record(f.AnswerDropped(**turn.stamp, model_call=dropped))
        raise


def _words(heard: Heard) -> str:
    message = heard.answer.message
    return text_of(message.content) or message.refusal or ""


def _saying(heard: Heard, text: str) -> Heard:
    """The answer in other words; its calls, and what the endpoint added, stay."""
    if text == _words(heard):
        return heard
    message = heard.answer.message
    content = retold(message.content, text) if text else None
    message = message.model_copy(update={"content": content, "refusal": None})
    return replace(heard, answer=replace(heard.answer, message=message), body=wire(message))
