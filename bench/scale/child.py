"""A function of the suite in a fresh process: `await ask(function, argument=...)` gives back what it returned.

A child ends by itself: once its function has returned, or as soon as its parent is gone.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
Role = Callable[..., Coroutine[Any, Any, Any]]


class ChildFailedError(Exception):
    """A child process ended with an error; its standard error is the message."""


async def ask(role: Role, /, **arguments: Any) -> Any:
    """What an async function at the top level of a module returns in a fresh interpreter. JSON values only."""
    process = await start(role, **arguments)
    out, err = await _to_its_end(process)
    if process.returncode:
        raise ChildFailedError(f"{role.__name__} ended with {process.returncode}:\n{err.decode()}")
    return json.loads(out.splitlines()[-1])


async def start(role: Role, /, **arguments: Any) -> Process:
    """The same, left running: what it prints comes through `stdout`. It lives as long as its `stdin` is open."""
    command = [sys.executable, "-m", "bench.scale.child", role.__module__, role.__name__, json.dumps(arguments)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def output(command: Sequence[str]) -> bytes:
    """What a command of this interpreter prints, standard error included.

    Raises:
        ChildFailedError: it failed.
    """
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    if process.returncode:
        raise ChildFailedError(f"{list(command)} ended with {process.returncode}:\n{err.decode()}")
    return out + err


async def _to_its_end(process: Process) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    try:
        out, err, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    finally:
        process.stdin.close()
    return out, err


def _end_with_the_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    module, name, arguments = sys.argv[1:]
    _end_with_the_parent()
    role: Role = getattr(importlib.import_module(module), name)
    print(json.dumps(asyncio.run(role(**json.loads(arguments)))), flush=True)
    os._exit(0)  # the watching thread still reads


if __name__ == "__main__":
    main()
