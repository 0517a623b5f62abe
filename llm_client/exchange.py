"""One attempt at one request over the official client: bytes out, deltas and an answer in, every failure typed.

The only file that imports the openai client (0.6 to 1.3 s): it is imported when a service is built.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final
from urllib.request import getproxies

import httpx2
import openai

from llm_client import answers, failures
from llm_client.answers import MalformedAnswerError
from llm_client.assemble import Assembly
from llm_client.errors import (
    ModelConnectionError,
    ModelError,
    ModelRequestError,
    ModelTimeoutError,
    StreamCutError,
)
from llm_client.json_text import read_json
from llm_client.lanes import Lanes
from llm_client.service import Answer, StreamEvent
from llm_client.settings import Settings
from llm_client.sse import EventReader

_HEADERS: Final = {"Content-Type": "application/json"}
_TIMEOUTS: Final = (openai.APITimeoutError, httpx2.TimeoutException)
_BROKEN: Final = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    OSError,
    RuntimeError,
    ValueError,
)
"""Whatever else the client and its transport raise; RuntimeError is a client closed under a request."""


class Exchange:
    """Connections to one endpoint, one client for every event loop that asks.

    A client belongs to the loop it was first used on. It is closed by `aclose`, or together with its loop: an async
    generator holds it, and a loop that ends (`asyncio.run`) finishes its generators.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = httpx2.create_ssl_context()  # 20 ms: here, not on the event loop, and once for all clients
        self._held: dict[
            asyncio.AbstractEventLoop, tuple[openai.AsyncOpenAI, AsyncGenerator[openai.AsyncOpenAI, None]]
        ] = {}

    async def complete(self, body: bytes, model: str) -> AsyncGenerator[StreamEvent, None]:
        """Ask for the answer in one piece. Raises nothing but `ModelError`s, none of them with a cause that could
        carry our key."""
        outcome = await self._sent(body, stream=False)
        if isinstance(outcome, ModelError):
            raise outcome
        yield self._whole(outcome, model)

    async def stream(self, body: bytes, model: str) -> AsyncGenerator[StreamEvent, None]:
        """Ask for the answer as it is made: deltas, then the answer. Raises like `complete`."""
        outcome = await self._sent(body, stream=True)
        if isinstance(outcome, ModelError):
            raise outcome
        try:
            if not outcome.headers.get("content-type", "").startswith("text/event-stream"):
                # Some endpoints ignore `stream`, and gateways answer 200 with an error in JSON.
                broken = await self._read(outcome)
                if broken is not None:
                    raise broken
                yield self._whole(outcome, model)
                return
            assembly = Assembly(model)
            async with aclosing(self._chunks(outcome)) as chunks:
                async for chunk in chunks:
                    for event in self._fed(assembly, chunk):
                        yield event
            yield self._end(assembly)
        finally:
            await outcome.aclose()

    async def aclose(self) -> None:
        """Close every connection. A later request opens new ones."""
        here = asyncio.get_running_loop()
        for loop, (_, holder) in list(self._held.items()):
            if loop is here:
                await holder.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_finish(holder), loop))
            elif loop.is_closed():
                self._held.pop(loop, None)

    async def _sent(self, body: bytes, *, stream: bool) -> httpx2.Response | ModelError:
        """The response, or why there is none. Errors are returned so that they carry no `__context__`: the client's own
        hold the request, and with it our key."""
        try:
            client = await self._client()
            response: httpx2.Response | openai.AsyncStream[object] = await client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                content=body,
                options={"headers": _HEADERS},
                stream=stream,
                stream_cls=openai.AsyncStream[object],
            )
        except openai.APIStatusError as error:
            return self._refused(error.response)
        except _TIMEOUTS as error:
            return self._timed_out(error)
        except _BROKEN as error:
            return self._broken(error)
        assert isinstance(response, httpx2.Response), "cast_to asks for it"
        return response

    async def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            for gone in [known for known in self._held if known.is_closed()]:
                self._held.pop(gone, None)
            client = self._new_client()
            holder = self._holding(client, loop)
            held = self._held[loop] = (client, holder)
            await anext(holder)
        return held[0]

    def _new_client(self) -> openai.AsyncOpenAI:
        given = self._settings
        url, timeout = given.endpoint, httpx2.Timeout(given.timeout, connect=given.connect_timeout)
        # A transport given to it makes the client pass by the proxies of the environment; then it gets none of ours.
        transport = None if getproxies() else self._new_transport()
        http = openai.DefaultAsyncHttpxClient(base_url=url, timeout=timeout, verify=self._tls, transport=transport)
        return openai.AsyncOpenAI(
            api_key=given.api_key.reveal(), base_url=url, timeout=timeout, max_retries=0, http_client=http
        )

    def _new_transport(self) -> httpx2.AsyncBaseTransport:
        if self._settings.transport == "httpx":
            return Lanes(self._new_lane)
        from llm_client.aio import AioTransport  # needs aiohttp, which need not be installed

        return AioTransport(self._tls)

    def _new_lane(self) -> httpx2.AsyncBaseTransport:
        one = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        return httpx2.AsyncHTTPTransport(verify=self._tls, limits=one)

    async def _holding(
        self, client: openai.AsyncOpenAI, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[openai.AsyncOpenAI, None]:
        try:
            yield client
        finally:
            self._held.pop(loop, None)
            await client.close()

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        """The data of each event up to [DONE]."""
        reader = EventReader()
        pieces = response.aiter_bytes()
        while True:
            piece: bytes | None = None
            failed: ModelError | None = None
            try:
                piece = await anext(pieces, None)
            except _TIMEOUTS as error:
                failed = self._timed_out(error)
            except _BROKEN as error:
                failed = self._cut(self._words(error))
            if failed is not None:
                raise failed
            for data in reader.finish() if piece is None else reader.feed(piece):
                if data.strip() == b"[DONE]":
                    await _drain(pieces)
                    return
                yield data
            if piece is None:
                return

    def _fed(self, assembly: Assembly, data: bytes) -> list[StreamEvent]:
        problem: ModelError
        try:
            chunk = read_json(data, keep_halves=True)
            refusal = failures.error_in(chunk)
            if refusal is None:
                return [*assembly.feed(chunk)]
            problem = self._failure(refusal, 200, None)
        except MalformedAnswerError as error:
            problem = self._cut(str(error))
        except ValueError:
            problem = self._cut("a chunk of it is damaged (it is no JSON)")
        raise problem from None

    def _end(self, assembly: Assembly) -> Answer:
        try:
            return assembly.answer()
        except MalformedAnswerError as error:
            problem = self._cut(str(error))
        raise problem from None

    def _whole(self, response: httpx2.Response, model: str) -> Answer:
        try:
            body = read_json(response.content)
            refusal = failures.error_in(body)
            if refusal is None:
                return answers.answer_in(body, model=model)
            problem = self._failure(refusal, response.status_code, response)
        except MalformedAnswerError as error:
            problem = answers.malformed(error, self._settings.endpoint)
        except ValueError:
            problem = self._no_json(response)
        raise problem from None

    def _no_json(self, response: httpx2.Response) -> ModelError:
        kind = response.headers.get("content-type", "").partition(";")[0]
        if kind == "text/html":
            return ModelRequestError(
                f"{self._settings.endpoint} answered with a web page: check the base URL, which usually ends in /v1",
                status=response.status_code,
            )
        return answers.malformed(f"its body is no JSON ({kind or 'no content type'})", self._settings.endpoint)

    async def _read(self, response: httpx2.Response) -> ModelError | None:
        try:
            await response.aread()
        except _TIMEOUTS as error:
            return self._timed_out(error)
        except _BROKEN as error:
            return self._broken(error)
        return None

    def _refused(self, response: httpx2.Response) -> ModelError:
        return self._failure(failures.refusal_in(response.content), response.status_code, response)

    def _failure(self, refusal: failures.Refusal, status: int, response: httpx2.Response | None) -> ModelError:
        wait = None if response is None else failures.retry_after(response.headers, time.time())
        error = failures.failure(refusal, status=status, retry_after=wait, endpoint=self._settings.endpoint)
        error.args = (self._settings.redact(str(error)),)
        return error

    def _timed_out(self, error: Exception) -> ModelTimeoutError:
        seconds = self._settings
        return ModelTimeoutError(
            f"{seconds.endpoint} did not connect within {seconds.connect_timeout:g} s, or sent nothing for "
            f"{seconds.timeout:g} s ({self._words(error)}); allow more with connect_timeout=... or timeout=..."
        )

    def _broken(self, error: Exception) -> ModelConnectionError:
        return ModelConnectionError(
            f"no connection to {self._settings.endpoint}, or it broke: {self._words(error)}; check that the endpoint "
            "runs and that the base URL names it"
        )

    def _cut(self, why: str) -> StreamCutError:
        return StreamCutError(
            f"the stream from {self._settings.endpoint} ended before its answer did: {why}; what came does not count"
        )

    def _words(self, error: BaseException) -> str:
        """What happened, in the words of the innermost cause: the client's own are only "Connection error."."""
        while (inner := error.__cause__) is not None:
            error = inner
        return self._settings.redact(f"{type(error).__name__}: {error}".removesuffix(": "))


async def _finish(holder: AsyncGenerator[openai.AsyncOpenAI, None]) -> None:
    await holder.aclose()


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what follows [DONE], normally nothing, so that the connection can be used again."""
    try:
        async for _ in pieces:
            pass
    except (*_TIMEOUTS, *_BROKEN):
        return  # the answer is whole; only the connection is lost
