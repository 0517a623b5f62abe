"""`ScriptedModel`: what `ScriptedServer` is, without the server: the same scripts, the same strictness, in process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from inspect import isawaitable
from typing import Any

from llm_client.answers import answer_in
from llm_client.errors import ModelRequestError, ModelServerError
from llm_client.service import Answer, ChatRequest, StreamEvent, TextDelta, ToolCallDelta
from power_loop.testing import completions
from power_loop.testing.protocol import ApiError, check_request
from power_loop.testing.script import Asked, Reply, ScriptLike, policy_of, reply_of


class ScriptedModel:
    """An `LLMService` that answers from a script and refuses what the provider would refuse.

    With rules, or a function of the request, the answer depends on the history alone, so that a process that goes on
    where another died is answered as if nothing had happened. `delay`, `chunk_delay`, `usage` and faults of a reply
    count; how a fault looks on the wire does not: it is a `ModelServerError`.
    """

    def __init__(self, script: ScriptLike, *, model: str = "scripted", piece: int = 16) -> None:
        self._policy = policy_of(script)
        self._model = model
        self._piece = piece
        self._seen: Counter[bytes] = Counter()

    @property
    def model(self) -> str:
        return self._model

    @property
    def replay_reasoning(self) -> bool:
        return False

    async def complete(self, request: ChatRequest) -> Answer:
        """The script's answer.

        Raises:
            ModelRequestError: the provider would refuse the request; the words are the provider's.
            ModelServerError: the reply has a fault.
        """
        asked, reply = await self._reply(request)
        await asyncio.sleep(reply.delay)
        return self._answer(asked, reply)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """The same as deltas, then whole. Raises as `complete` does."""
        asked, reply = await self._reply(request)
        await asyncio.sleep(reply.delay)
        answer = self._answer(asked, reply)
        size = reply.piece or self._piece
        text = answer.message.text
        for at in range(0, len(text), size):
            await asyncio.sleep(reply.chunk_delay)
            yield TextDelta(text[at : at + size])
        for index, call in enumerate(answer.message.tool_calls):
            yield ToolCallDelta(index, call.id, call.name, call.arguments)
        yield answer

    async def aclose(self) -> None:
        return None

    async def _reply(self, request: ChatRequest) -> tuple[Asked, Reply]:
        body = body_of(request, self._model)
        try:
            check_request(body)
        except ApiError as refused:
            raise ModelRequestError(str(refused), status=refused.status) from refused
        raw = json.dumps(body).encode()
        self._seen[raw] += 1
        asked = Asked(sum(self._seen.values()), body, raw, seen=self._seen[raw] - 1)
        given = self._policy(asked)
        return asked, reply_of(await given if isawaitable(given) else given)

    def _answer(self, asked: Asked, reply: Reply) -> Answer:
        fault = reply.fault
        if fault is not None and (fault.times is None or asked.seen < fault.times):
            raise ModelServerError(fault.message, status=fault.status)
        return answer_in(completions.whole(asked, reply), model=self._model)


def body_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body that goes out for a request."""
    body: dict[str, Any] = {"model": request.model or model, "messages": [json.loads(m) for m in request.messages]}
    if request.tools:
        body["tools"] = [json.loads(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    return body | dict(request.extra)
