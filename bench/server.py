"""A model server that is not what is measured: it looks at the end of a body only, in a process of its own.

`power_loop.testing.ScriptedServer` reads and checks every message of every request, as it should: 10,000 of them cost
it more than all contestants together.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.conversation import ASKS, SAYS, body_of


def _answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


_ASKS, _SAYS = _answer(body_of(ASKS)), _answer(body_of(SAYS))


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._got = bytearray()
        self._end = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._end < 0:
            blank = self._got.find(b"\r\n\r\n")
            if blank < 0:
                return
            head = bytes(self._got[:blank]).lower()
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            self._end = blank + 4 + length
        if len(self._got) >= self._end:
            last = self._got.rfind(b'"role"', 0, self._end)
            self._transport.write(_SAYS if b"tool" in self._got[last : last + 16] else _ASKS)
            del self._got[: self._end]
            self._end = -1


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started us is gone


@contextmanager
def running() -> Iterator[str]:
    """The address of a server process that ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
