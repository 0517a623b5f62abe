"""What each transport must do on the wire, on servers that do as little as it takes to go wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from llm_client import OpenAIChatService, settings
from llm_client.aio import AioTransport
from llm_client.errors import ModelConnectionError, ModelError, ModelSettingsError, ModelTimeoutError
from llm_client.lanes import Lanes
from llm_client.service import ChatRequest
from power_loop.testing import Reply, ScriptedServer

pytestmark = [pytest.mark.acceptance("F2"), pytest.mark.usefixtures("transport")]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ASK = ChatRequest(messages=('{"role":"user","content":"hi"}',))
LONG = ChatRequest(messages=(json.dumps({"role": "user", "content": "long " * 2_000_000}),))
ANSWER = b'{"model":"m","choices":[{"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}'


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that treats each connection as told."""
    held: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        with suppress(ConnectionError):  # the client has left
            await handler(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


@asynccontextmanager
async def asking(url: str, **given: Any) -> AsyncIterator[OpenAIChatService]:
    service = OpenAIChatService(
        **{"model": "m", "base_url": url, "api_key": "sk-test", "attempts": 1, "backoff": 0.01, **given}
    )
    try:
        yield service
    finally:
        await service.aclose()


async def request_in(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"content-type: application/json", b"content-length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_the_transport_that_was_asked_for_carries_the_requests(transport: str) -> None:
    async with ScriptedServer(lambda asked: "hello") as server, asking(server.url) as service:
        await asyncio.gather(*(service.complete(ASK) for _ in range(20)))
        [(client, _)] = service._requests._exchange._held.values()
        assert isinstance(client._client._transport, AioTransport if transport == "aiohttp" else Lanes)


async def test_a_body_of_megabytes_arrives_whole_and_without_a_warning() -> None:
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await request_in(reader))
        writer.write(answer(ANSWER))

    async with serving(handler) as url, asking(url) as service:
        assert (await service.complete(LONG)).message.text == "hello"
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert json.loads(body)["messages"] == [json.loads(LONG.messages[0])]
    assert b"transfer-encoding" not in head.lower()
    for line in (b"authorization: Bearer sk-test", b"content-type: application/json", b"accept: application/json"):
        assert head.lower().count(line.lower()) == 1


async def test_a_server_that_takes_in_nothing_of_a_body_is_given_up() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with serving(handler) as url, asking(url, timeout=0.2, total_timeout=20) as service:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ModelTimeoutError, match="timeout="):
            await service.complete(LONG)
        assert asyncio.get_running_loop().time() - began < 10


async def test_an_endpoint_may_refuse_before_it_has_read_the_body() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\n\r\ntoo big")
        while await reader.read(1 << 20):
            pass

    async with serving(handler) as url, asking(url) as service:
        with pytest.raises(ModelError, match="too big") as caught:
            await service.complete(LONG)
    assert caught.value.status == 413


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", answer(ANSWER)[:-9]])
async def test_an_answer_that_breaks_off_is_a_broken_connection_not_a_timeout(said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_in(reader)
        writer.write(said)
        writer.close()

    async with serving(handler) as url, asking(url) as service:
        with pytest.raises(ModelConnectionError, match=url):
            await service.complete(ASK)


async def test_a_connection_reset_is_a_broken_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with serving(handler) as url, asking(url) as service:
        with pytest.raises(ModelConnectionError, match=url):
            await service.complete(LONG)


async def test_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request_in(reader)
        writer.write(answer(ANSWER))
        writer.close()

    async with serving(handler) as url, asking(url) as service:
        for _ in range(3):
            await service.complete(ASK)
            await asyncio.sleep(0.05)
    assert connections == 3


async def test_an_answer_may_be_packed_and_has_long_headers() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_in(reader)
        writer.write(answer(gzip.compress(ANSWER), b"content-encoding: gzip", b"x-policy: " + b"p" * 20_000))

    async with serving(handler) as url, asking(url) as service:
        assert (await service.complete(ASK)).message.text == "hello"


async def test_a_redirect_is_followed_and_cookies_are_not_kept() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await request_in(reader)).lower())
            if b"post /v1/" in heads[-1]:
                writer.write(b"HTTP/1.1 307 Go\r\nlocation: /v2/there\r\ncontent-length: 0\r\n\r\n")
            else:
                writer.write(answer(ANSWER))

    async with serving(handler) as url, asking(url) as service:
        assert (await service.complete(ASK)).message.text == "hello"
    assert [head.split()[1] for head in heads] == [b"/v1/chat/completions", b"/v2/there"]


async def test_closing_the_service_ends_requests_under_way() -> None:
    async with ScriptedServer([Reply(text="late", delay=60)]) as server, asking(server.url) as service:
        asked = asyncio.create_task(service.complete(ASK))
        await server.received(1)
        await service.aclose()
        with pytest.raises(ModelConnectionError):
            await asyncio.wait_for(asked, 10)


@pytest.mark.parametrize("way", ["left open", "closed", "cut off"])
def test_a_script_ends_without_a_warning_however_it_leaves_the_service(transport: str, way: str) -> None:
    program = f"""
import asyncio, gc, sys
from llm_client import OpenAIChatService
from llm_client.service import ChatRequest

ask = ChatRequest(messages=('{{"role":"user","content":"hi"}}',))

async def main():
    service = OpenAIChatService(model="m", base_url=sys.argv[1], api_key="k", transport={transport!r})
    await asyncio.gather(*(service.complete(ask) for _ in range(5)))
    stream = service.stream(ask)
    await anext(stream)
    if {way!r} == "closed":
        await stream.aclose()
        await service.aclose()
    if {way!r} == "cut off":
        asyncio.create_task(service.complete(ask))
        await asyncio.sleep(0)

asyncio.run(main())
gc.collect()
"""
    with ScriptedServer(lambda asked: Reply(text="abcdef", piece=2)) as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, server.url],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await request_in(reader)).split(b"\r\n")[0])
        writer.write(answer(ANSWER))

    async with serving(handler) as url:
        monkeypatch.setenv(name, url.removesuffix("/v1"))
        async with asking("http://model.invalid/v1") as service:
            assert (await service.complete(ASK)).message.text == "hello"
    assert asked == [b"POST http://model.invalid/v1/chat/completions HTTP/1.1"]


def test_aiohttp_that_is_not_installed_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    if transport == "aiohttp":
        with pytest.raises(ModelSettingsError, match=r"pip install 'power-loop\[aiohttp\]'"):
            OpenAIChatService(model="m", api_key="k")
    else:
        OpenAIChatService(model="m", api_key="k")


async def test_the_transport_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    monkeypatch.setenv("POWER_LOOP_TRANSPORT", transport)
    assert OpenAIChatService.from_env(model="m", api_key="k")._settings.transport == transport
    assert OpenAIChatService.from_env(model="m", api_key="k", transport="httpx")._settings.transport == "httpx"
    monkeypatch.setenv("POWER_LOOP_TRANSPORT", "smoke signals")
    with pytest.raises(ModelSettingsError, match="give 'httpx' or 'aiohttp'"):
        OpenAIChatService.from_env(model="m", api_key="k")
