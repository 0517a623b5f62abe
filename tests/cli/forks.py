"""The command line in a process of its own each time, without a third of a second each time for what it imports.

A process that has imported what `python -m power_loop` imports, and has done nothing else, forks for each command; what
is forked goes on as the command would. The tests that talk to a command while it runs start it as a user does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

PATIENCE: Final = 60
_CLOSED: Final = "closed"


class Forks:
    """Use it as a context. All its commands have the environment's Python settings in common, and `-W error`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", __file__, str(theirs.fileno())],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()
        self._process.wait(PATIENCE)

    def run(
        self, arguments: Sequence[str], cwd: Path, stdin: str, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the command would. Python's own settings are those of all; SIGALRM ends what hangs."""
        assert all(self._environment[name] == value for name, value in env.items() if name.startswith("PYTHON"))
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            wanted = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
            socket.send_fds(self._end, [wanted], [given.fileno(), out.fileno(), err.fileno()])
            code = int(self._end.recv(64))
            return subprocess.CompletedProcess(arguments, code, _read(out), _read(err))


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(end: socket.socket) -> list[str]:
    """Returns in each process that is to be a command, with its arguments; and at the end, with none."""
    while True:
        wanted, streams, _, _ = socket.recv_fds(end, 1 << 20, 3)
        if not wanted:
            return [_CLOSED]
        arguments, cwd, environment = json.loads(wanted)
        if (pid := os.fork()) == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environment)
            sys.path[0] = cwd
            signal.alarm(PATIENCE)
            return list(arguments)
        for stream in streams:
            os.close(stream)
        end.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


if __name__ == "__main__":
    importlib.import_module("power_loop.cli")
    gc.freeze()  # so that no command looks at all of it again when it ends
    with socket.socket(fileno=int(sys.argv[1])) as end:
        wanted = _serve(end)
    if wanted != [_CLOSED]:
        sys.argv = ["power_loop", *wanted]
        runpy.run_module("power_loop", run_name="__main__", alter_sys=True)
