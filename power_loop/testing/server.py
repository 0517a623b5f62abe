"""`python -m power_loop.testing.server`: a scripted model server as a process of its own.

It prints one JSON line with its URL and serves until SIGTERM or SIGINT, or, with `--with-stdin`, until its input ends,
which also happens when whoever started it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from power_loop.testing.script import ScriptError, ScriptLike
from power_loop.testing.scripted_server import ScriptedServer

__all__ = ["ScriptedServer", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve; 0 after a stop that was asked for, 1 if the script failed, 2 if it cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        script, settings = _script(options.script, options.policy)
        server = ScriptedServer(
            script,
            port=options.port,
            model=settings.get("model", "scripted"),
            piece=options.piece or settings.get("piece", 16),
            context_window=options.context_window or settings.get("context_window"),
            api_key=options.api_key,
            log=options.log,
        )
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        sys.stderr.write(f"the script cannot be read: {error}\n")
        return 2
    return asyncio.run(_serve(server, options.with_stdin))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m power_loop.testing.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--script", help="a JSON file: replies in order, or rules")
    parser.add_argument("--policy", help="MODULE:NAME of a function of the request, instead of a file")
    parser.add_argument("--log", help="a file that gets one JSON line a request")
    parser.add_argument("--piece", type=int, help="characters of text a chunk carries")
    parser.add_argument("--context-window", type=int, help="tokens above which a request is refused")
    parser.add_argument("--api-key", help="the only key taken; by default any")
    parser.add_argument("--with-stdin", action="store_true", help="stop when the input ends")
    return parser


def _script(path: str | None, policy: str | None) -> tuple[ScriptLike, dict[str, Any]]:
    if policy is not None:
        module, _, name = policy.partition(":")
        function: Callable[..., object] = getattr(importlib.import_module(module), name)
        if not callable(function):
            raise ScriptError(f"{policy} is no function")
        return function, {}  # type: ignore[return-value]
    if path is None:
        return [], {}
    script = json.loads(Path(path).read_text(encoding="utf-8"))
    return script, script if isinstance(script, dict) else {}


async def _serve(server: ScriptedServer, with_stdin: bool) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    if with_stdin:
        # A thread, not a pipe on the loop, for stdin may be a file; a daemon, so that it never holds the exit up.
        threading.Thread(target=_watch, args=(server,), daemon=True).start()
    await server.serve(_announce)
    for error in server.errors:
        sys.stderr.write(f"the script failed: {type(error).__name__}: {error}\n")
    return 1 if server.errors else 0


def _watch(server: ScriptedServer) -> None:
    # Not through sys.stdin: its lock would be held while the interpreter shuts down.
    while os.read(0, 4096):
        pass
    server.stop()


def _announce(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
