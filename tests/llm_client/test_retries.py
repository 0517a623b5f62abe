"""F2: one retry layer, counted at the server."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from llm_client import OpenAIChatService
from llm_client.errors import (
    ModelAuthError,
    ModelConnectionError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelServerError,
    ModelTimeoutError,
)
from llm_client.failures import retry_after
from llm_client.service import Answer, AttemptVoided, ChatRequest, StreamEvent, TextDelta
from power_loop.testing import Reply, ScriptedServer

pytestmark = [pytest.mark.acceptance("F2"), pytest.mark.usefixtures("transport")]

ASK = ChatRequest(messages=(json.dumps({"role": "user", "content": "hi"}),))
GOOD = Reply(text="abcdef", piece=2)


@asynccontextmanager
async def asking(script: Any, **settings: Any) -> AsyncIterator[tuple[OpenAIChatService, ScriptedServer]]:
    async with ScriptedServer(script) as server:
        given = {"backoff": 0.01, "attempts": 3} | settings
        client = OpenAIChatService(model="m", base_url=server.url, api_key="sk-test", **given)
        try:
            yield client, server
        finally:
            await client.aclose()


async def answered(client: OpenAIChatService, stream: bool) -> list[StreamEvent]:
    if stream:
        return [event async for event in client.stream(ASK)]
    return [await client.complete(ASK)]


BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelRequestError),
        (401, ModelAuthError),
        (402, ModelAuthError),
        (403, ModelAuthError),
        (404, ModelRequestError),
        (405, ModelRequestError),
        (413, ModelRequestError),
        (422, ModelRequestError),
    ],
)
async def test_what_would_fail_again_is_asked_once(status: int, kind: type[ModelError], stream: bool) -> None:
    async with asking([Reply.fails(status, "no, thanks"), GOOD]) as (client, server):
        with pytest.raises(kind) as caught:
            await answered(client, stream)
    assert len(server.requests) == 1
    assert (caught.value.status, caught.value.retryable) == (status, False)
    assert "no, thanks" in str(caught.value)


@BOTH
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_asked_again_and_no_more_than_allowed(status: int, stream: bool) -> None:
    async with asking(lambda asked: Reply.fails(status)) as (client, server):
        with pytest.raises(ModelRateLimitedError if status == 429 else ModelServerError) as caught:
            await answered(client, stream)
    assert len(server.requests) == 3
    assert caught.value.status == status
    async with asking([Reply.fails(status), Reply.fails(status), GOOD]) as (client, server):
        assert (await answered(client, stream))[-1].message.text == "abcdef"
    assert len(server.requests) == 3


@BOTH
async def test_one_attempt_never_repeats(stream: bool) -> None:
    async with asking([Reply.fails(500), GOOD], attempts=1) as (client, server):
        with pytest.raises(ModelServerError):
            await answered(client, stream)
    assert len(server.requests) == 1


async def test_a_quota_that_is_used_up_is_not_waited_for() -> None:
    async with asking([Reply.fails(429, "quota", code="insufficient_quota"), GOOD]) as (client, server):
        with pytest.raises(ModelAuthError, match="billing"):
            await client.complete(ASK)
    assert len(server.requests) == 1


@BOTH
async def test_a_broken_connection_is_tried_again(stream: bool) -> None:
    async with asking([GOOD.with_fault("disconnect"), GOOD.with_fault("disconnect", after=1), GOOD]) as (
        client,
        server,
    ):
        events = await answered(client, stream)
    assert events[-1].message.text == "abcdef"
    assert len(server.requests) == 3


@BOTH
async def test_an_answer_cut_in_half_is_tried_again(stream: bool) -> None:
    async with asking([GOOD.with_fault("truncate", after=2), GOOD.with_fault("malformed", after=2), GOOD]) as (
        client,
        server,
    ):
        events = await answered(client, stream)
    assert events[-1].message.text == "abcdef"
    assert len(server.requests) == 3


async def test_nobody_there_is_a_connection_error_that_names_the_endpoint() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connecting is refused, and nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        client = OpenAIChatService(model="m", base_url=url, api_key="sk-test", attempts=2, backoff=0.01)
        with pytest.raises(ModelConnectionError, match=url):
            await client.complete(ASK)
        await client.aclose()


async def test_deltas_of_a_failed_attempt_are_taken_back() -> None:
    script = [Reply.fails(503), GOOD.with_fault("disconnect", after=3), GOOD]
    async with asking(script) as (client, _):
        events = await answered(client, stream=True)
    shape = [event.text if isinstance(event, TextDelta) else type(event) for event in events]
    assert shape == [AttemptVoided, "ab", "cd", AttemptVoided, "ab", "cd", "ef", Answer]
    first, second = (event for event in events if isinstance(event, AttemptVoided))
    assert (first.attempt, second.attempt) == (1, 2)
    assert "503" in first.error
    assert 0 < first.retry_in < second.retry_in


@BOTH
@pytest.mark.parametrize(
    "headers", [{"retry-after": "0.4"}, {"retry-after-ms": "400"}, {"retry-after": "99", "retry-after-ms": "400"}]
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(status: int, headers: dict[str, str], stream: bool) -> None:
    async with asking([Reply.fails(status, headers=headers), GOOD]) as (client, server):
        await answered(client, stream)
    first, second = server.requests
    assert second.at - first.at >= 0.4


async def test_retry_after_as_a_date_is_obeyed() -> None:
    async with asking([], total_timeout=30) as (client, server):
        until = datetime.now(UTC) + timedelta(seconds=2)
        server.use([Reply.fails(429, headers={"retry-after": format_datetime(until, usegmt=True)}), GOOD])
        await client.complete(ASK)
    assert datetime.now(UTC) >= until.replace(microsecond=0)


@BOTH
async def test_retry_after_longer_than_the_time_left_fails_at_once(stream: bool) -> None:
    async with asking([Reply.fails(429, retry_after=3600), GOOD], total_timeout=20) as (client, server):
        began = time.monotonic()
        with pytest.raises(ModelRateLimitedError) as caught:
            await answered(client, stream)
        assert time.monotonic() - began < 10
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


@BOTH
@pytest.mark.parametrize("after", [None, 2], ids=["silent", "half-way"])
async def test_the_total_time_ends_a_request_that_hangs(after: int | None, stream: bool) -> None:
    async with asking(lambda asked: GOOD.with_fault("hang", after=after), total_timeout=0.4) as (client, server):
        began = time.monotonic()
        with pytest.raises(ModelTimeoutError, match="total_timeout"):
            await answered(client, stream)
        assert 0.35 <= time.monotonic() - began < 10
    assert len(server.requests) == 1


@BOTH
async def test_the_total_time_spans_all_attempts_and_the_waits_between_them(stream: bool) -> None:
    async with asking(lambda asked: Reply.fails(500), attempts=1000, total_timeout=0.5, max_backoff=0.1) as (
        client,
        server,
    ):
        began = time.monotonic()
        with pytest.raises(ModelTimeoutError, match="500"):
            await answered(client, stream)
        assert time.monotonic() - began < 10
    assert 2 <= len(server.requests) < 1000


@BOTH
async def test_silence_ends_an_attempt_not_the_request(stream: bool) -> None:
    async with asking([GOOD.with_fault("hang"), GOOD.with_fault("hang", after=2), GOOD], timeout=0.6) as (
        client,
        server,
    ):
        events = await answered(client, stream)
    assert events[-1].message.text == "abcdef"
    assert len(server.requests) == 3


@BOTH
async def test_silence_to_the_last_attempt_is_a_timeout(stream: bool) -> None:
    async with asking(lambda asked: GOOD.with_fault("hang"), timeout=0.1, attempts=2) as (client, server):
        with pytest.raises(ModelTimeoutError, match="timeout="):
            await answered(client, stream)
    assert len(server.requests) == 2


@BOTH
async def test_the_backoff_is_cancelled_at_once(stream: bool) -> None:
    async with asking([Reply.fails(429, retry_after=60), GOOD]) as (client, server):
        task = asyncio.create_task(answered(client, stream))
        await server.received(1)
        await asyncio.to_thread(_until, lambda: server.requests[0].outcome == "faulty")
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2, "it waits for 60"
    assert len(server.requests) == 1


@BOTH
async def test_a_cancelled_request_lets_its_connection_go(stream: bool) -> None:
    async with asking([GOOD.with_fault("hang", after=2)]) as (client, server):
        task = asyncio.create_task(answered(client, stream))
        await server.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(_until, lambda: server.requests[0].outcome == "client gone")


async def test_a_stream_that_nobody_reads_to_its_end_lets_its_connection_go() -> None:
    async with asking([GOOD.with_fault("hang", after=2), "more"]) as (client, server):
        stream = client.stream(ASK)
        assert isinstance(await anext(stream), TextDelta)
        await stream.aclose()
        await asyncio.to_thread(_until, lambda: server.requests[0].outcome == "client gone")
        assert (await client.complete(ASK)).message.text == "more"


async def test_a_listener_may_take_longer_than_the_request_itself() -> None:
    """The timer may end the request, but must not interrupt who listens."""
    async with asking([GOOD], total_timeout=1) as (client, _):
        listened = False
        with suppress(ModelTimeoutError):  # when the listener is done there is no time left
            async for event in client.stream(ASK):
                if isinstance(event, TextDelta) and event.text == "ab":
                    await asyncio.sleep(1.2)
                    listened = True
    assert listened


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT", "date": "Thu, 01 Jan 1970 00:01:57 GMT"}, 3.0),
        ({"retry-after": "Thu, 99 Foo 1970 00:02:00 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


def _until(true: Any, timeout: float = 10.0) -> None:
    """Return when it is true: for what a server notices on its own thread and time."""
    ends = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < ends, "it never became true"
        time.sleep(0.005)
