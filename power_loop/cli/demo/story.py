"""The demo as it happens: processes started, one killed, one that takes over; and every claim checked at the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from power_loop.cli.demo.agent import SCRIPT, Entry, Ledger
from power_loop.cli.exits import CommandEnded
from power_loop.testing import ServerProcess

PATIENCE: Final = 60.0
"""Seconds after which a worker that says nothing is taken for stuck, and killed."""


class DemoFailed(CommandEnded):
    """What the demo claims did not happen."""

    code = "demo.failed"


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A call as the fresh process found it."""

    key: str
    """Its idempotency key."""
    id: str
    name: str
    state: str
    result: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    words: str
    true: bool


class Worker:
    """A process of the agent. It is killed at the end of the block if it is still there, by its id."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "power_loop.cli.demo.worker", *arguments]
        # A session of its own: Ctrl-C is ours to hear, and the block ends the worker.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._watchdog = threading.Timer(PATIENCE, self._process.kill)

    @property
    def pid(self) -> int:
        return self._process.pid

    def told(self, event: str) -> dict[str, Any]:
        """The worker's word about an event, which must be the next thing it says.

        Raises:
            DemoFailed: it says something else, or nothing.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"event": "nothing"}
        if said["event"] != event:
            raise DemoFailed(f"process {self.pid} should have told of {event!r} and told of {said['event']!r}")
        return said

    def kill(self) -> int:
        """SIGKILL; how it ended."""
        self._process.send_signal(signal.SIGKILL)
        return self._process.wait()

    def __enter__(self) -> Self:
        self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        if kind is None and self._process.stdin is not None and self._process.poll() is None:
            self._process.wait(PATIENCE)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Story:
    """`with Story(db, ledger) as story:`, then `crash()`, `recover()`, `claims()`; in between it can be told."""

    def __init__(self, db: Path, ledger: Path) -> None:
        self.db = db
        self.ledger = Ledger(ledger)
        self.session = ""
        self.victim = self.heir = 0
        """Process ids: who was killed, who went on."""
        self.found: Sequence[SeenCall] = ()
        """The calls after the crash."""
        self.settled: Sequence[SeenCall] = ()
        """The calls in the end, those of the second round too."""
        self.answer = ""
        self._ended = 0
        self._status = ""
        self._refused = ""
        self._untouched = False
        self._stack = ExitStack()
        self._server = ServerProcess(SCRIPT)

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> Self:
        self._stack.enter_context(self._server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def crash(self) -> None:
        """Run a turn in a process of its own and kill that when the money has left."""
        with Worker("run", *self._where()) as worker:
            self.victim = worker.pid
            self.session = str(worker.told("session")["session_id"])
            worker.told("money_left")
            self._ended = worker.kill()

    def recover(self) -> None:
        """Let a fresh process try to send, look, and resume."""
        with Worker("recover", *self._where(), "--session", self.session) as worker:
            self.heir = worker.pid
            refusal = worker.told("refused")
            self._refused, self._untouched = refusal["code"], refusal["untouched"]
            seen = worker.told("calls")
            doubts = {call["id"] for call in seen["pending"] if call["state"] == "in_doubt"}
            self.found = [self._seen(call, {}, doubts) for call in seen["calls"]]
            resumed = worker.told("resumed")
            self._status, self.answer = resumed["status"], resumed["final_text"]
            seen = worker.told("settled")
            self.settled = [self._seen(call, seen["results"], set()) for call in seen["calls"]]

    def claims(self) -> Iterator[Claim]:
        """Everything the demo says, against what processes, files and server know."""
        entries = self.ledger.read()
        starts = Counter(entry.call for entry in entries if entry.what == "start")
        requests = self._server.requests()
        yield Claim("the process was killed by SIGKILL", self._ended == -signal.SIGKILL)
        yield Claim("send was refused and changed nothing", self._refused == "session.pending" and self._untouched)
        found = [(call.name, call.state) for call in self.found]
        expected = [("look_up_invoice", "succeeded"), ("send_payment", "in_doubt"), ("write_receipt", "requested")]
        yield Claim("the file knew what became of each call", found == expected)
        yield Claim("the turn was completed", self._status == "completed" and bool(self.answer))
        yield Claim("nothing ran twice", bool(starts) and max(starts.values()) == 1 and _payments(entries) == 1)
        yield Claim("nothing was skipped", set(starts) == {call.key for call in self.settled} and len(starts) == 4)
        accepted = [request["status"] == 200 and request["refusal"] is None for request in requests]
        yield Claim("the strict server took every request", len(accepted) == 3 and all(accepted))

    def _where(self) -> list[str]:
        return ["--db", str(self.db), "--ledger", str(self.ledger.path), "--url", self.url]

    def _seen(self, call: dict[str, Any], results: dict[str, str], doubts: set[str]) -> SeenCall:
        state = "in_doubt" if call["state"] == "started" and call["id"] in doubts else call["state"]
        return SeenCall(
            call["idempotency_key"], call["id"], call["name"], state, results.get(str(call["result_seq"]), "")
        )


def _payments(entries: Sequence[Entry]) -> int:
    return sum(entry.what == "money left" for entry in entries)
