"""One round's question: a request to the model, and what becomes of its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from llm_client.messages import AssistantMessage, ToolCall, text_of, wire
from llm_client.service import ChatRequest, Usage
from power_loop.engine import facts as f
from power_loop.errors import ContextOverflowError, OutputInvalidError
from power_loop.loop import hooked
from power_loop.loop.last_word import Objection, stopped_early, wrong_output
from power_loop.loop.model import Heard, answered
from power_loop.loop.spending import within_budget
from power_loop.loop.turn import Ending, Turn
from power_loop.tools import Tool
from power_loop.values import CallKey, Effect, Status

STILL_ASKING: Final = "(The round limit was reached while more tools were asked for.)"
"""Stands in the history for a last answer that was nothing but calls."""

MAX_FRESH: Final = 35
"""Characters of a fresh id in a call's id, of which the API takes 40."""

_A_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")


async def ask(turn: Turn, *, wrap_up: bool = False) -> None:
    """Ask the model and record its answer: the last word, or calls, which are then in the ledger in the same commit.

    An empty answer (no text, no calls) is dropped and the same request repeated once. On `wrap_up` no tools are offered
    and the answer ends the turn whatever it says. Where the endpoint finds the request too long, what it counted is
    recorded; history is folded then, and the model asked once more.

    Raises:
        ContextOverflowError: it refused the request as too long, for the second time or where nothing may be folded.
        OutputInvalidError: the second answer was empty too, or again not of the shape asked for; nothing of it is in
            the history.
        Stopped: the request would pass a budget; it is not made.
        ModelError: no answer could be had.
        Stopped: somebody stopped the turn; whatever the model was saying is dropped.
    """
    request = turn.request(with_tools=not wrap_up)
    for _ in range(2):
        try:
            heard, milliseconds = await _answer(turn, request)
        except ContextOverflowError as refusal:
            await _refused(turn, refusal)
            return
        if wrap_up and heard.answer.message.tool_calls:
            heard = _without_calls(heard)
        answer = heard.answer
        purpose = "answer" if _says_something(answer.message) else "dropped"
        spent = f.ModelCall(
            purpose=purpose,
            model=answer.model,
            usage=answer.usage,
            milliseconds=milliseconds,
            cost=0.0 if heard.skipped else turn.gear.cost(answer.model, answer.usage),
            context=turn.context(answer.usage, heard.body) if purpose == "answer" else None,
        )
        if purpose == "answer":
            break
        await turn.record(f.AnswerDropped(**turn.stamp, model_call=spent))
    else:
        raise OutputInvalidError(
            f"the model {answer.model} answered twice without text and without calls (finish reason "
            f"{answer.finish_reason!r}); nothing of it is stored; resume() asks again"
        )
    heard, spent = await hooked.answer_appended(turn, heard, spent)
    if answer.message.tool_calls:
        await _take_calls(turn, heard, spent)
    elif (objection := await _objection(turn, heard, spent, wrap_up=wrap_up)) is not None:
        await _go_on(turn, heard, spent, objection)
    else:
        await _take_last_word(turn, heard, spent, wrap_up=wrap_up)


async def _refused(turn: Turn, refusal: ContextOverflowError) -> None:
    """The endpoint found the request too long: its figures count from here on, and `decide` makes room."""
    if turn.snapshot.refused or not turn.limits.folds:
        raise refusal
    turn.refusal = refusal
    if refusal.limit is not None:
        room = max(1, refusal.limit - (turn.gear.config.max_reply_tokens or 0))
        turn.gear.rooms[turn.model] = room
        turn.limits = turn.limits.within(room)
    counted = None if refusal.requested is None else Usage(prompt_tokens=refusal.requested, completion_tokens=0)
    model = turn.model or ("" if turn.gear.llm is None else turn.gear.llm.model)
    await turn.record(
        f.ContextOverflowed(
            **turn.stamp,
            limit=refusal.limit,
            requested=refusal.requested,
            model_call=f.ModelCall(purpose="overflow", model=model, usage=counted, milliseconds=0),
        )
    )


async def _take_calls(turn: Turn, heard: Heard, spent: f.ModelCall) -> None:
    """The calls enter the ledger with the message that asks for them; committed together with their start."""
    seq = turn.next_seq
    asked = heard.answer.message.tool_calls
    named = _identified(asked, turn.gear.tool, turn.gear.world.new_id)
    if named != asked:
        message = heard.answer.message.model_copy(update={"tool_calls": named})
        heard = replace(heard, body=wire(message))
    calls = []
    for ordinal, call in enumerate(named):
        tool = turn.gear.tool(call.name)
        calls.append(
            f.RequestedCall(
                key=CallKey(seq, ordinal),
                id=call.id,
                name=call.name,
                arguments=call.arguments,
                effect=Effect.ONCE if tool is None else tool.effect,
                schema_hash=None if tool is None else tool.schema_hash,
            )
        )
    await turn.record(
        f.CallsRequested(
            **turn.stamp,
            round=turn.snapshot.rounds + 1,
            message=_stored(heard, seq),
            model_call=spent,
            calls=tuple(calls),
        ),
        hold=True,
    )


async def _objection(turn: Turn, heard: Heard, spent: f.ModelCall, *, wrap_up: bool) -> Objection | None:
    """Why the turn may not end with this answer; at the limit of rounds it has to.

    Raises:
        OutputInvalidError: it is of the wrong shape once too often; what it cost is recorded.
    """
    text = _words(heard)
    try:
        wrong = wrong_output(turn, text)
    except OutputInvalidError:
        await turn.record(f.AnswerDropped(**turn.stamp, model_call=replace(spent, purpose="dropped", context=None)))
        raise
    if wrap_up:
        return None
    async with hooked.paid(turn, spent):
        return wrong or stopped_early(turn) or await hooked.turn_end(turn, text)


async def _go_on(turn: Turn, heard: Heard, spent: f.ModelCall, objection: Objection) -> None:
    """The answer stands, and a note behind it says why the model is asked again."""
    seq = turn.next_seq
    facts: list[f.Fact] = (
        [] if turn.stepping is None else [f.RulesRemembered(**turn.stamp, memories=(turn.stepping.memory(),))]
    )
    await turn.record(
        f.AnswerContinued(
            **turn.stamp,
            round=turn.snapshot.rounds + 1,
            message=_stored(heard, seq),
            model_call=spent,
            note=f.NewMessage(seq=seq + 1, role="user", body=objection.body),
            by=objection.by,
        ),
        *facts,
        ahead=True,
    )


async def _take_last_word(turn: Turn, heard: Heard, spent: f.ModelCall, *, wrap_up: bool) -> None:
    answer = heard.answer
    status = Status.HIT_ROUND_LIMIT if wrap_up else Status.COMPLETED
    reason = f"max_rounds of {turn.limits.max_rounds} reached" if wrap_up else answer.finish_reason
    await turn.record(
        f.AnswerReceived(
            **turn.stamp,
            round=turn.snapshot.rounds + 1,
            message=_stored(heard, turn.next_seq),
            model_call=spent,
            status=status,
            stop_reason=reason,
        )
    )
    turn.ending = Ending(status, reason, _words(heard))


async def _answer(turn: Turn, request: ChatRequest) -> tuple[Heard, int]:
    """One answer that hooks let pass, or gave in its place, and how long it took, in milliseconds."""
    while True:
        asked = await hooked.model_request(turn, request)
        if isinstance(asked, Heard):
            return asked, 0
        heard, milliseconds = await _said(turn, asked)
        if (kept := await hooked.model_answer(turn, heard, milliseconds)) is not None:
            return kept, milliseconds


async def _said(turn: Turn, request: ChatRequest) -> tuple[Heard, int]:
    """What the model says, and how long it took; streamed only if somebody listens."""
    clock = turn.gear.world.monotonic
    begun = clock()
    await within_budget(turn)
    turn.gear.world.reached("loop.ask")
    heard = await turn.stop.run(answered(turn.gear, request, streamed_to=turn if turn.listened else None))
    turn.gear.world.reached("loop.answered")
    return heard, round((clock() - begun) * 1000)


def _words(heard: Heard) -> str:
    message = heard.answer.message
    return text_of(message.content) or message.refusal or ""


def _says_something(message: AssistantMessage) -> bool:
    return bool(text_of(message.content).strip() or message.refusal or message.tool_calls)


def _without_calls(heard: Heard) -> Heard:
    """The words of a wrap-up. A model that only asked for more tools, which nobody offered, has said so much."""
    message = heard.answer.message
    words = message.content if text_of(message.content).strip() else STILL_ASKING
    message = message.model_copy(update={"tool_calls": (), "content": words})
    return replace(heard, answer=replace(heard.answer, message=message), body=wire(message))


def _identified(
    calls: Sequence[ToolCall], tool: Callable[[str], Tool | None], new_id: Callable[[], str]
) -> tuple[ToolCall, ...]:
    """Calls as they can be stored and sent back: each with an id of its own in this answer, and a name an API takes."""
    seen: set[str] = set()
    named = []
    for call in calls:
        call_id = call.id
        while not call_id or call_id in seen:
            call_id = f"call_{new_id().replace('-', '')[-MAX_FRESH:]}"
        seen.add(call_id)
        name = call.name
        if not _A_NAME.fullmatch(name):
            name = _NOT_IN_A_NAME.sub("_", name)[:64] or "unnamed"
            while tool(name) is not None:  # a guess of ours must never run a tool
                name = f"_{name}"[:64]
        if (call_id, name) != (call.id, call.name):
            call = call.model_copy(update={"id": call_id, "name": name})
        named.append(call)
    return tuple(named)


def _stored(heard: Heard, seq: int) -> f.NewMessage:
    return f.NewMessage(seq=seq, role="assistant", body=heard.body, provider=heard.provider)
