"""The other end of agents: starts them, tells them, hears them, kills them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 20.0
"""Seconds after which something that must happen is given up."""


class Hand:
    """One agent, alive until it is killed or dies."""

    def __init__(self, name: str, pid: int, end: socket.socket, options: dict[str, Any]) -> None:
        self.name = name
        self.pid = pid
        self.end = end
        self.options = options
        self.alive = True
        self._rest = b""
        self._lines: deque[dict[str, Any]] = deque()

    def tell(self, **what: Any) -> None:
        with suppress(OSError):  # it died; that is heard as the end of its words
            self.end.sendall(json.dumps(what).encode() + b"\n")

    def has_said(self) -> bool:
        return bool(self._lines)

    def heard(self, timeout: float) -> dict[str, Any] | None:
        """The next thing it says; None if there is nothing within so many seconds; `{}` at its end."""
        until = time.monotonic() + timeout
        while not self._lines:
            ready, _, _ = select.select([self.end], [], [], max(0, until - time.monotonic()))
            if not ready:
                return None
            try:
                data = self.end.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                return {}
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(map(json.loads, lines))
        return self._lines.popleft()


class Host:
    """The process that forks agents. Use it as a context; agents that are left are killed."""

    def __init__(self) -> None:
        self._hands: list[Hand] = []

    def __enter__(self) -> Self:
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.model.agent", str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()
        self._end.close()
        self._process.wait(PATIENCE)

    def start(self, name: str, **options: Any) -> Hand:
        """A new agent, its store open."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self._end, [json.dumps(options).encode()], [theirs.fileno()])
        theirs.close()
        hand = Hand(name, int(self._end.recv(64)), ours, options)
        self._hands.append(hand)
        assert hand.heard(PATIENCE) == {"ready": True}, f"agent {name} did not open {options['path']}"
        return hand

    def hear(self, hands: Sequence[Hand], timeout: float) -> tuple[Hand, dict[str, Any]] | None:
        """What one of these says next; None if there is nothing within so many seconds."""
        ready = [hand for hand in hands if hand.has_said()]
        if not ready:
            ends, _, _ = select.select([hand.end for hand in hands], [], [], timeout)
            ready = [hand for hand in hands if hand.end in ends]
        for hand in ready:
            said = hand.heard(0)
            if said is not None:
                return hand, said
        return None

    def kill(self, hand: Hand) -> list[dict[str, Any]]:
        """Kill it, if it is not dead by itself, and wait until the kernel has cleaned up; what it said last."""
        if not hand.alive:
            return []
        os.kill(hand.pid, signal.SIGKILL)
        last = []
        while said := hand.heard(PATIENCE):
            last.append(said)
        self._end.send(json.dumps({"reap": hand.pid}).encode())
        hand.alive = False
        hand.end.close()
        self._hands.remove(hand)
        assert int(self._end.recv(64)) in (-signal.SIGKILL, 0), f"agent {hand.name} ended by itself"
        return last

    def kill_all(self) -> None:
        for hand in list(self._hands):
            self.kill(hand)
