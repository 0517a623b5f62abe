"""`ScriptedServer`: a real HTTP server on loopback that speaks Chat Completions from a script, and refuses what the
provider would refuse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from power_loop.testing.handler import Handler, Recorded
from power_loop.testing.http import LARGEST_HEAD
from power_loop.testing.script import ScriptLike

_PATIENCE: Final = 10.0
"""Seconds to wait for the server's own thread, or for requests that a test expects."""


class ScriptedServer:
    """A model server for tests and demos: `with` or `async with`, then point a client at `url`.

    It runs on a thread of its own, so a client that blocks its event loop cannot stop it. A script given as a function
    runs on that thread. Many sessions may use it at once. When the block ends without an exception of its own, what
    went wrong in the script is raised there, as an `ExceptionGroup`.
    """

    def __init__(
        self,
        script: ScriptLike = (),
        *,
        port: int = 0,
        model: str = "scripted",
        piece: int = 16,
        context_window: int | None = None,
        api_key: str | None = None,
        log: Path | str | None = None,
    ) -> None:
        """Args:
        script: A list of replies, rules, or a function of the request; see `power_loop.testing.script`.
        port: 0 takes a free one.
        model: What GET /v1/models lists; any model may be asked.
        piece: Characters of text a chunk of a stream carries.
        context_window: Tokens (four bytes of body each) above which a request is refused.
        api_key: The only key taken; by default any.
        log: A file that gets one JSON line a request, on the disk before the answer goes out.
        """
        self._handler = Handler(
            script, model=model, piece=piece, context_window=context_window, api_key=api_key,
            log=None if log is None else Path(log),
        )  # fmt: skip
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The base URL for clients, ending in /v1."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def port(self) -> int:
        return self._port

    @property
    def requests(self) -> list[Recorded]:
        """Every completion request so far, also refused ones, in the order they came."""
        return list(self._handler.recorded)

    @property
    def refusals(self) -> list[str]:
        """The words of every refusal for breaking the protocol: a test that expects none asserts this empty."""
        return [request.refusal for request in self.requests if request.refusal is not None]

    def use(self, script: ScriptLike) -> None:
        """Take another script from now on."""
        self._handler.use(script)

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in the script so far."""
        return list(self._handler.errors)

    def wait_for(self, count: int, timeout: float = _PATIENCE) -> None:
        """Return once `count` requests have come.

        Raises:
            TimeoutError: they did not within `timeout` seconds.
        """
        arrived = self._handler.arrived
        with arrived:
            if not arrived.wait_for(lambda: len(self._handler.recorded) >= count, timeout):
                raise TimeoutError(f"{len(self._handler.recorded)} of {count} requests came within {timeout:g} s")

    async def received(self, count: int, timeout: float = _PATIENCE) -> None:
        """`wait_for` for async code."""
        await asyncio.to_thread(self.wait_for, count, timeout)

    def __enter__(self) -> Self:
        ready = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(ready, failure), name="scripted-server", daemon=True)
        self._thread.start()
        ready.wait(_PATIENCE)
        if failure:
            raise failure[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is None and self._handler.errors:
            raise ExceptionGroup("the script of the model server failed", self._handler.errors)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def stop(self) -> None:
        """Make `serve` return, from any thread; harmless when it already did."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    def _close(self) -> None:
        """Stop listening, break every connection, and wait for the thread."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                raise RuntimeError("the model server did not stop; a script function is still running")
        self._loop = self._stop = self._thread = None

    def _run(self, ready: threading.Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self.serve(lambda _: ready.set()))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that started us
            failure.append(error)
        finally:
            ready.set()

    async def serve(self, listening: Callable[[str], None]) -> None:
        """Serve until told to stop, or cancelled; `listening` gets the URL once connections are taken."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._handler.connection, "127.0.0.1", self._port, limit=LARGEST_HEAD)
        self._port = server.sockets[0].getsockname()[1]
        try:
            listening(self.url)
            await self._stop.wait()
        finally:
            server.close()
            await self._handler.aclose()
