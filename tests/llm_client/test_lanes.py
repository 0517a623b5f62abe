"""Connections are taken from a stack and put back, whatever becomes of a request; a real client on a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from llm_client import OpenAIChatService
from llm_client.lanes import Lanes
from llm_client.service import ChatRequest
from power_loop.testing import ScriptedServer

ASK = ChatRequest(messages=('{"role":"user","content":"hi"}',))


@asynccontextmanager
async def lanes_of(most: int = 1_000, kept: float = 5.0) -> AsyncIterator[tuple[Lanes, httpx2.AsyncClient]]:
    one = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    lanes = Lanes(lambda: httpx2.AsyncHTTPTransport(limits=one), most=most, kept=kept)
    async with httpx2.AsyncClient(transport=lanes, timeout=20) as client:
        yield lanes, client


@pytest.mark.acceptance("F2")
async def test_many_at_once_have_a_connection_each_and_share_them_afterwards() -> None:
    async with ScriptedServer(lambda asked: "hello") as server:
        service = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        answers = await asyncio.gather(*(service.complete(ASK) for _ in range(20)))
        assert {answer.message.text for answer in answers} == {"hello"}
        [(client, _)] = service._requests._exchange._held.values()
        lanes = client._client._transport
        assert isinstance(lanes, Lanes)
        assert 1 < len(lanes) <= 20
        most = len(lanes)
        await asyncio.gather(*(service.complete(ASK) for _ in range(20)))
        assert len(lanes) <= 20
        for _ in range(most):
            await service.complete(ASK)
        assert len(lanes) <= 20
        await service.aclose()


async def test_who_finds_all_of_them_taken_waits_in_one() -> None:
    async with ScriptedServer(lambda asked: "hello") as server, lanes_of(most=2) as (lanes, client):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        sent = [client.post(f"{server.url}/chat/completions", json=body, headers={"authorization": "Bearer k"})
                for _ in range(9)]  # fmt: skip
        assert [response.status_code for response in await asyncio.gather(*sent)] == [200] * 9
        assert len(lanes) == 2


async def test_a_cancelled_and_a_failed_request_give_their_lanes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with lanes_of() as (lanes, client):
            hanging = asyncio.create_task(client.get(url))
            while not lanes._taken:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0)
            hanging.cancel()
            await asyncio.wait([hanging])
            assert (len(lanes._taken), len(lanes)) == (0, 1)
        async with lanes_of() as (lanes, client):
            with pytest.raises(httpx2.TransportError):
                await client.get("http://127.0.0.1:1/")
            assert (len(lanes._taken), len(lanes)) == (0, 1)


async def test_lanes_that_nobody_needs_are_closed() -> None:
    async with ScriptedServer(lambda asked: "hello") as server, lanes_of(kept=-1.0) as (lanes, client):
        await client.get(f"{server.url}/models")
        await asyncio.gather(*lanes._closing)
        assert len(lanes) == 0
