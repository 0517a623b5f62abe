"""Plain asyncio sockets: `json.dumps` of the whole body in each request, the answer parsed, nothing stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench import conversation as c
from bench.conversation import Message
from bench.peers import Peer

Keep = Callable[[int, Sequence[Message]], Awaitable[None]]


class Wire:
    """HTTP as bare as it gets: one connection a request at a time, kept open and used again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._at = (parts.hostname, parts.port)
        self._head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: "
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def asked(self, body: bytes) -> Message:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(*self._at)
        writer.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        said = json.loads(await reader.readexactly(length))
        self._free.append((reader, writer))
        message: Message = said["choices"][0]["message"]
        return message

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()


async def in_process(messages: Sequence[Message]) -> Message:
    """The answer of the model in process."""
    last = messages[-1]["content"]
    return c.says() if c.after_results(last) else c.asks(c.number_in(last))


async def results_of(calls: Sequence[Message]) -> list[Message]:
    """The two calls, run at once."""
    texts = await asyncio.gather(*(c.called(call["function"]["arguments"]) for call in calls))
    return [c.result(call["id"], text) for call, text in zip(calls, texts, strict=True)]


async def keep_nothing(session: int, messages: Sequence[Message]) -> None:
    return None


class Sockets(Peer):
    title = "plain sockets"
    setting = "keeps nothing"
    stores = False
    keep: Keep = staticmethod(keep_nothing)
    """Called with what is new, before anything depends on it."""

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        self._wire = None if url is None else Wire(url)
        self._sessions: dict[int, list[Message]] = {n: c.history(long) for n, long in enumerate(histories)}

    async def turn(self, session: int) -> None:
        messages = self._sessions.setdefault(session, [])
        new: list[Message] = [c.user(self.next_number())]
        while True:
            messages += new
            await self.keep(session, new)
            said = await self._answer(messages)
            messages.append(said)
            await self.keep(session, [said])
            if not said.get("tool_calls"):
                return
            new = await results_of(said["tool_calls"])

    async def _answer(self, messages: list[Message]) -> Message:
        if self._wire is None:
            return await in_process(messages)
        return await self._wire.asked(json.dumps({"model": c.MODEL, "messages": messages, "tools": [c.TOOL]}).encode())

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()


PEER = Sockets
