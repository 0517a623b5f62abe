"""What is on disk at a moment of a turn. The contestant's process stops itself as a whole, and somebody else looks.

Looking from within would take time in which its threads go on writing, and opening a live database file by hand drops
the process's own locks on it.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench import conversation as c

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_DIE_WITH_PARENT: Final = 1


async def watched(turn: Callable[[], Awaitable[None]], turns: int, asking: int, answers: int) -> dict[str, int]:
    """In the contestant: run turns, and at each tool and each request with results have somebody look."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)  # else it would stay stopped if the driver were killed
    asked, heard = os.fdopen(asking, "w", buffering=1), os.fdopen(answers, "r")
    found = {"calls": 0, "input": 0, "call": 0, "requests": 0, "result": 0}

    def look(*words: str) -> list[bool]:
        asked.write(json.dumps(words) + "\n")
        os.kill(os.getpid(), signal.SIGSTOP)
        said: list[bool] = json.loads(heard.readline())
        return said

    def at_call(city: str, trip: str) -> None:
        given, call = look(f"Q{trip[1:]}", trip)
        found["calls"] += 1
        found["input"] += given
        found["call"] += call

    def at_results(number: int) -> None:
        (result,) = look(f"R{number:08d} {c.CITIES[0]}")
        found["requests"] += 1
        found["result"] += result

    c.on_call, c.on_results = at_call, at_results
    try:
        for _ in range(turns):
            await turn()
    finally:
        c.on_call = c.on_results = None
        asked.close()
        heard.close()
    return found


def answer_looks(pid: int, folder: Path, asking: int, answers: int) -> None:
    """In the driver, on a thread: answer what `watched` asks, until it closes its end."""
    with os.fdopen(asking) as asked, os.fdopen(answers, "w", buffering=1) as said:
        for line in asked:
            _until_stopped(pid)
            try:
                stored = _committed(folder)
                said.write(json.dumps([word.encode() in stored for word in json.loads(line)]) + "\n")
            finally:
                os.kill(pid, signal.SIGCONT)


def _until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} did not stop itself")
        time.sleep(0.0005)


def _committed(folder: Path) -> bytes:
    """Every value of every table of every database in a folder, as anybody else sees it now."""
    seen: list[bytes] = []
    for file in folder.rglob("*"):
        if not file.is_file() or file.read_bytes()[:15] != b"SQLite format 3":
            continue
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0)
        try:
            names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in names:
                for row in db.execute(f'SELECT * FROM "{name}"'):
                    seen += map(_bytes, row)
        finally:
            db.close()
    return b"\0".join(seen)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    text = str(value)
    if _BASE64.fullmatch(text):  # DBOS keeps pickled values like this
        try:
            return base64.b64decode(text)
        except binascii.Error:
            pass
    return text.encode()
