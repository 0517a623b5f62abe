"""A model server that is not what is measured: it looks at the end of a body only, in a process of its own.

`power_loop.testing.ScriptedServer` reads and checks every message of every request, as it should: 10,000 of them cost
it more than all contestants together. Only the standard library.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.conversation import asks, chunks, completion, says

_NUMBER: Final = b"%08d" % 0


def _answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


_STREAM: Final = b"text/event-stream"
_ASKS: Final = (_answer(completion(asks(0))), _answer(chunks(asks(0)), _STREAM))
_SAYS: Final = (_answer(completion(says())), _answer(chunks(says()), _STREAM))
_STREAMED: Final = (b'"stream":true', b'"stream": true')


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._got = bytearray()
        self._start, self._end = 0, -1

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
            self._start = blank + 4
            self._end = self._start + length
        if len(self._got) >= self._end:
            last = self._got.rfind(b'"role"', 0, self._end)
            # Clients write the settings of a request before its messages or after them.
            around = self._got[self._start : min(self._start + 300, last)] + self._got[last : self._end]
            streamed = any(word in around for word in _STREAMED)
            if b"tool" in self._got[last : last + 16]:
                self._transport.write(_SAYS[streamed])
            else:
                at = self._got.rfind(b"Trip Q", 0, self._end) + 6
                self._transport.write(_ASKS[streamed].replace(_NUMBER, bytes(self._got[at : at + 8])))
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
        [sys.executable, "-m", "bench.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
