"""The client's requests over aiohttp, whose connections cost a fraction of those of the client's own transport.

The openai package brings such a transport too. This one tells a broken connection from one that timed out, times a
server that takes in nothing of a long body, and is quiet about bodies over a megabyte. Imports aiohttp, which is
optional: loaded when a service is built that wants it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import httpx2
from yarl import URL

MOST: Final = 1_000
"""Connections at once; whoever finds all of them taken waits for one, as long as the client's timeout lets it."""

KEPT: Final = 5.0
"""Seconds an idle connection is kept, as the client's own pool keeps them."""

_PIECE: Final = 1 << 16
"""Bytes that are handed to a connection at once. A body that is longer is timed as it goes out."""

_FAILURES: Final = (aiohttp.ClientError, OSError)


class AioTransport(httpx2.AsyncBaseTransport):
    """A transport over one aiohttp session. Made on the event loop that it belongs to.

    Repeats nothing, follows nothing, keeps no cookies and reads nothing from the environment: what goes out is the
    request as it was built. What fails raises what the client's own transport would raise, with aiohttp's error as
    its cause.
    """

    def __init__(self, tls: ssl.SSLContext, *, most: int = MOST, kept: float = KEPT) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=most, keepalive_timeout=kept, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # the client does that
            max_field_size=_PIECE,  # gateways send headers longer than aiohttp takes by itself
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        allowed = request.extensions["timeout"]
        body = await request.aread()  # it is there, but for what a redirect sends again
        try:
            async with asyncio.timeout(None) as stalled:
                response = await self._session.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=[(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw],
                    data=body if len(body) <= _PIECE else _pieces(body, stalled, allowed["write"]),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        connect=allowed["pool"], sock_connect=allowed["connect"], sock_read=allowed["read"]
                    ),
                )
        except _FAILURES as error:
            raise _as_httpx(error, request)  # noqa: B904 - it names its cause
        return httpx2.Response(response.status, headers=response.raw_headers, stream=_Body(response, request))

    async def aclose(self) -> None:
        await self._session.close()


class _Body(httpx2.AsyncByteStream):
    """The body of a response. Its connection is used again if it was read to its end, else closed."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except _FAILURES as error:
            raise _as_httpx(error, self._request)  # noqa: B904

    async def aclose(self) -> None:
        self._response.release()


async def _pieces(body: bytes, stalled: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    """The body piece by piece; `stalled` ends the request if one is not taken within so many seconds."""
    clock = asyncio.get_running_loop().time
    for start in range(0, len(body), _PIECE):
        stalled.reschedule(None if seconds is None else clock() + seconds)
        yield body[start : start + _PIECE]
    stalled.reschedule(None)


def _as_httpx(error: Exception, request: httpx2.Request) -> httpx2.TransportError:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Its text may be the whole head of an answer.
        return httpx2.RemoteProtocolError("the server closed the connection", request=request)
    kind: type[httpx2.TransportError]
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind = httpx2.ConnectTimeout
        case aiohttp.SocketTimeoutError():
            kind = httpx2.ReadTimeout
        case TimeoutError():
            kind = httpx2.WriteTimeout
        case aiohttp.ClientConnectorError():
            kind = httpx2.ConnectError
        case aiohttp.ClientOSError() | OSError():
            kind = httpx2.ReadError
        case _:
            kind = httpx2.RemoteProtocolError
    told = kind(str(error), request=request)
    told.__cause__ = error
    return told
