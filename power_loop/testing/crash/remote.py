"""`FakeRemote`: the world outside, in a file. What it was asked and what it did survives every kill."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from power_loop.testing.crash.place import lines


def _unwatched(point: str) -> None:
    return None


class FakeRemote:
    """A service with side effects that can be counted. Safe from several processes and threads.

    It keeps idempotency keys as a good service does: the effect of a key happens once, and every request with that key
    gets the first one's answer. `reached` hears of two crash points: `remote.NAME.asked`, with the attempt on disk and
    the effect not done, and `remote.NAME.done`, with the effect on disk and nobody told.
    """

    def __init__(self, path: Path, reached: Callable[[str], None] = _unwatched) -> None:
        self._path = path
        self._reached = reached

    def do(self, name: str, *, key: str, **facts: Any) -> dict[str, Any]:
        """Have an effect, once for each key; what the service says: `{"id": ..., "name": ..., **facts}`.

        Facts are JSON values. A key that comes again with other facts gets the first answer: the effect is not
        repeated, and not changed.
        """
        with self._alone() as descriptor:
            _write(descriptor, {"event": "asked", "name": name, "key": key, "facts": facts})
            self._reached(f"remote.{name}.asked")
            effects = [line for line in lines(self._path) if line["event"] == "done"]
            answer = next((line["answer"] for line in effects if (line["name"], line["key"]) == (name, key)), None)
            if answer is None:
                answer = {"id": f"{name}-{len(effects) + 1}", "name": name, **facts}
                _write(descriptor, {"event": "done", "name": name, "key": key, "answer": answer})
            self._reached(f"remote.{name}.done")
        return dict(answer)

    def find(self, name: str, key: str) -> dict[str, Any] | None:
        """The answer to the request with that key, if its effect happened: what a `reconcile` function asks."""
        found = (line["answer"] for line in self._lines("done") if (line["name"], line["key"]) == (name, key))
        return next((dict(answer) for answer in found), None)

    @property
    def attempts(self) -> Counter[tuple[str, str]]:
        """How often each (name, key) was asked for."""
        return Counter((line["name"], line["key"]) for line in self._lines("asked"))

    @property
    def effects(self) -> Counter[tuple[str, str]]:
        """How often the effect of each (name, key) happened."""
        return Counter((line["name"], line["key"]) for line in self._lines("done"))

    @property
    def held(self) -> bool:
        """Whether a process is in the middle of a request; one that was stopped there still is."""
        if not self._path.exists():
            return False
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _lines(self, event: str) -> Iterator[dict[str, Any]]:
        return (line for line in lines(self._path) if line["event"] == event)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The file, locked. The kernel lets go of the lock with the process, however that dies."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # not lockf: reading the file beside it would drop that
            yield descriptor
        finally:
            os.close(descriptor)


def _write(descriptor: int, line: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.fsync(descriptor)
