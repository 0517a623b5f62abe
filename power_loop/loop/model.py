"""One request to the model. A service is the app's code: whatever it does wrong comes out as a `ModelError`."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

from llm_client.messages import AssistantMessage, provider, wire
from llm_client.service import Answer, ChatRequest, LLMService
from power_loop.errors import ModelError, NotConfiguredError, PowerLoopError, StreamCutError
from power_loop.loop.gear import Gear
from power_loop.loop.turn import Turn
from power_loop.values import cleaned


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it can be stored: the wire text of its message, and what the endpoint added."""

    answer: Answer
    body: str
    provider: str | None
    skipped: bool = False
    """A guard gave it: no model was asked."""


async def answered(gear: Gear, request: ChatRequest, *, streamed_to: Turn | None = None) -> Heard:
    """The model's answer; streamed where a turn publishes its deltas as they come.

    Raises:
        ModelError: none could be had. What the service raised, if it was nothing of ours, is the cause.
        NotConfiguredError: there is no model.
    """
    llm = gear.llm
    if llm is None:
        raise NotConfiguredError("a model", "build the loop with llm=...")
    try:
        return _sound(await (llm.complete(request) if streamed_to is None else _streamed(streamed_to, llm, request)))
    except PowerLoopError:
        raise
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ModelError("the model service was cancelled from within; resume() asks again") from cancelled
    except Exception as error:
        raise ModelError(
            cleaned(f"the model service {llm!r} failed with {type(error).__name__}: {error}; resume() asks again")
        ) from error


async def _streamed(turn: Turn, llm: LLMService, request: ChatRequest) -> Answer:
    stream = llm.stream(request)
    await turn.arrived()  # listeners hear of what was before the answer first
    async with aclosing(cast("Any", stream)) if hasattr(stream, "aclose") else nullcontext():
        async for event in stream:
            if isinstance(event, Answer):
                return event
            turn.publish(event)
    raise StreamCutError("the stream of the model ended without an answer; resume() asks again")


def _sound(answer: object) -> Heard:
    """The answer with lone surrogates replaced: no file and no later request could carry them."""
    if not isinstance(answer, Answer):
        raise TypeError(f"it gave a {type(answer).__name__} where an Answer is due")
    if not (answer.finish_reason.isascii() and answer.model.isascii()):
        answer = replace(answer, finish_reason=cleaned(answer.finish_reason), model=cleaned(answer.model))
    try:
        return Heard(answer, wire(answer.message), provider(answer.message))
    except ValueError:
        whole = cleaned(json.dumps(answer.message.model_dump(mode="python"), ensure_ascii=False))
        answer = replace(answer, message=AssistantMessage.model_validate_json(whole))
        return Heard(answer, wire(answer.message), provider(answer.message))
