"""F2: what an endpoint says when it refuses or fails is told apart, and an answer that is none is a typed error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llm_client import OpenAIChatService
from llm_client.errors import (
    ContextOverflowError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelServerError,
)
from llm_client.service import ChatRequest
from power_loop.testing import Reply, ScriptedServer

pytestmark = pytest.mark.acceptance("F2")

ASK = ChatRequest(messages=(json.dumps({"role": "user", "content": "hi"}),))
GOOD = Reply(text="abcdef")


@asynccontextmanager
async def asking(script: Any, attempts: int = 3) -> AsyncIterator[tuple[OpenAIChatService, ScriptedServer]]:
    async with ScriptedServer(script) as server:
        client = OpenAIChatService(model="m", base_url=server.url, api_key="sk-test", attempts=attempts, backoff=0.01)
        try:
            yield client, server
        finally:
            await client.aclose()


WINDOW = "This model's maximum context length is"
OVERFLOWS = {
    "openai": (
        f"{WINDOW} 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce their length.",
        (8192, 9001),
    ),
    "openai, older": (f"{WINDOW} 4097 tokens, however you requested 5000 tokens (4000 in your prompt).", (4097, 5000)),
    "openai, newer": ("Your input exceeds the context window of this model.", (None, None)),
    "openrouter": (
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens.",
        (131072, 140000),
    ),
    "anthropic": ("prompt is too long: 210,000 tokens > 200,000 maximum", (200000, 210000)),
    "gemini": (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        (1048576, 1200000),
    ),
    "xai": (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        (131072, 537812),
    ),
    "tgi": ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens", (4096, 5000)),
    "bedrock": ("Input is too long for requested model.", (None, None)),
    "llama.cpp": ("the request exceeds the available context size. try increasing the context size", (None, None)),
}


@pytest.mark.parametrize("endpoint", list(OVERFLOWS))
@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_a_full_context_is_told_apart_with_its_figures(endpoint: str, status: int) -> None:
    message, figures = OVERFLOWS[endpoint]
    async with asking([Reply.fails(status, message), GOOD]) as (client, server):
        with pytest.raises(ContextOverflowError) as caught:
            await client.complete(ASK)
    assert (caught.value.limit, caught.value.requested) == figures
    assert caught.value.status == status
    assert len(server.requests) == 1


async def test_a_full_context_is_known_by_its_code_alone() -> None:
    async with asking([Reply.fails(400, "no", code="context_length_exceeded")]) as (client, _):
        with pytest.raises(ContextOverflowError):
            await client.complete(ASK)


async def test_figures_of_llama_cpp_stand_in_fields() -> None:
    error = {
        "code": 400,
        "message": "too big",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 900,
        "n_ctx": 512,
    }
    async with asking([Reply().with_fault("status", status=400, body={"error": error})]) as (client, _):
        with pytest.raises(ContextOverflowError) as caught:
            await client.complete(ASK)
    assert (caught.value.limit, caught.value.requested) == (512, 900)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Request too large: limit 30000 tokens per minute, context length 8000 exceeded"),
        (400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens"),
    ],
)
async def test_other_limits_are_no_full_context(status: int, message: str) -> None:
    async with asking([Reply.fails(status, message)], attempts=1) as (client, _):
        with pytest.raises(ModelError) as caught:
            await client.complete(ASK)
    assert not isinstance(caught.value, ContextOverflowError)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>welcome</html>", ModelServerError),
        ("", ModelServerError),
        ("null", ModelServerError),
        ("[1]", ModelServerError),
        ("{}", ModelServerError),
        ('{"choices":[]}', ModelServerError),
        ('{"choices":[{"finish_reason":"stop"}]}', ModelServerError),
        ('{"choices":[{"message":{"content":5},"finish_reason":"stop"}]}', ModelServerError),
        ('{"choices":[{"message":{"content":"a"},"finish_reason":null}]}', ModelServerError),
        ('{"choices":[{"message":{"tool_calls":{}},"finish_reason":"stop"}]}', ModelServerError),
        ('{"choices":[{"message":{"tool_calls":[{"id":"a"}]},"finish_reason":"stop"}]}', ModelServerError),
        (
            '{"choices":[{"message":{"tool_calls":[{"id":"a","function":{}}]},"finish_reason":"stop"}]}',
            ModelServerError,
        ),
        ("[" * 5000, ModelServerError),
        ('{"error":{"message":"no","code":429}}', ModelRateLimitedError),
        ('{"error":{"message":"no","type":"invalid_request_error"}}', ModelRequestError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_an_answer_that_is_none_is_a_typed_error(body: str, kind: type[ModelError], stream: bool) -> None:
    answer = Reply().with_fault("status", status=200, body=body)
    async with asking(lambda asked: answer, attempts=1) as (client, _):
        with pytest.raises(kind) as caught:  # noqa: PT012
            if stream:
                [event async for event in client.stream(ASK)]
            else:
                await client.complete(ASK)
    assert len(str(caught.value)) < 2000


async def test_a_web_page_in_place_of_an_answer_points_at_the_base_url() -> None:
    page = Reply().with_fault("status", status=200, body="<html>hi</html>", headers={"content-type": "text/html"})
    async with asking(lambda asked: page) as (client, server):
        with pytest.raises(ModelRequestError, match="base URL"):
            await client.complete(ASK)
    assert len(server.requests) == 1
