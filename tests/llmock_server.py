"""llmock, a model server that this project did not write, from PyPI in a virtual environment of its own.

`with LLMock.running(cache) as server:` gives one on a free loopback port; it is stopped by its process id. The virtual
environment is made once below `cache` and used again by later runs.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.environment import made

REQUIREMENT: Final = "llmock==0.2.2"
_PATIENCE: Final = 60.0


class LLMock:
    """A running server. `url` is what clients get; the rest drives it over its own admin endpoints."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"

    @classmethod
    @contextmanager
    def running(cls, cache: Path) -> Iterator[Self]:
        python = _environment(cache)
        port = _free_port()
        command = [str(python.with_name("llmock")), "serve", "--port", str(port), "--log-level", "warning"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            server = cls(port)
            server._wait(process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def script(self, *behaviours: dict[str, Any]) -> None:
        """Forget what was, and behave so from now on, one behaviour after the other."""
        self._call("/_llmock/reset", {})
        self._call("/_llmock/scenario", {"behaviors": list(behaviours)})

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last script."""
        told = self._call("/_llmock/requests")
        return list(told["requests"] if isinstance(told, dict) else told)

    def verdict(self) -> Any:
        """What the server thinks of the client: its own judgement, not ours."""
        return self._call("/_llmock/verdict")

    def _call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            return json.load(answer)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Return once it answers; there is nothing to wait on but its port."""
        ends = time.monotonic() + _PATIENCE
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"llmock ended with exit code {process.returncode} before it answered")
            try:
                self._call("/health")
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)
            else:
                return


def _environment(cache: Path) -> Path:
    """The python of a virtual environment that has llmock."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{REQUIREMENT.replace('==', '-')}-py{sys.version_info.major}{sys.version_info.minor}"
    python = folder / "bin" / "python"
    with (cache / "llmock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once make one
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            made(folder, REQUIREMENT)
            (folder / "complete").touch()
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
