"""As much of HTTP/1.1 as a model server needs, on asyncio streams: requests in, answers out, connections kept alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

LARGEST_HEAD: Final = 64 * 1024
LARGEST_BODY: Final = 256 * 1024 * 1024


class HttpError(Exception):
    """The request is no HTTP that this server reads; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


async def read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """The next request of a connection, or None when the client is done with it.

    Raises:
        HttpError: it cannot be read.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise HttpError(431, "the request's head is too large") from None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError(400, "no HTTP/1.1 request line")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    return HttpRequest(words[0], words[1].partition("?")[0], headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        return b"".join([piece async for piece in _chunked(reader)])
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise HttpError(413, "no usable content length")
    return await reader.readexactly(int(length))


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size > LARGEST_BODY:
            raise HttpError(413, "the body is too large")
        piece = await reader.readexactly(size)
        await reader.readline()
        if not size:
            return
        yield piece


class Responder:
    """Writes the answer to one request."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, status: int, body: str | bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        data = body.encode() if isinstance(body, str) else body
        await self.head(status, {"content-length": str(len(data)), **(headers or {})})
        await self.write(data)

    async def send_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        await self.send(status, json.dumps(value), headers)

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        fields = {"content-type": "application/json", **headers}
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        await self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def stream_head(self) -> None:
        await self.head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})

    async def event(self, data: str) -> None:
        """An event with this data; a text that begins with a colon goes out as a comment."""
        await self.stream_bytes(f"{'' if data.startswith(':') else 'data: '}{data}\n\n".encode())

    async def stream_bytes(self, data: bytes) -> None:
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def stream_end(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """End the connection once all that was written is sent."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection at once; what is still buffered is lost."""
        self._writer.transport.abort()
