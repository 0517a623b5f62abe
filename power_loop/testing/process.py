"""A scripted model server in a process of its own, for tests and demos that kill their clients."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_PATIENCE: Final = 20.0


class ServerProcess:
    """`with ServerProcess(script) as server:` point clients at `server.url`. The script is in its JSON form.

    The process ends with the block, and also when this one is killed: it watches its input.
    """

    def __init__(
        self, script: Mapping[str, Any] | Sequence[Any], *, log: Path | str | None = None, options: Sequence[str] = ()
    ) -> None:
        self._script, self._log, self._options = script, log, tuple(options)
        self._stack = ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        with self._stack:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="power-loop-server-"))
            path = Path(folder, "script.json")
            path.write_text(json.dumps(self._script), encoding="utf-8")
            command = [sys.executable, "-m", "power_loop.testing.server", "--with-stdin", "--script", str(path)]
            if self._log is not None:
                command += ["--log", str(self._log)]
            process = subprocess.Popen(
                [*command, *self._options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._stack.callback(_end, process)
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the model server did not start (exit code {process.wait(_PATIENCE)})")
            self.url = str(json.loads(line)["url"])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def requests(self) -> list[dict[str, Any]]:
        """Every completion request so far, as `GET /__requests` tells them."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/__requests", timeout=_PATIENCE) as answer:
            recorded: list[dict[str, Any]] = json.load(answer)
        return recorded


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes both pipes, which ends it, and waits
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
