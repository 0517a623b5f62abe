"""An event loop whose order is a seed's choice: which callback is next, when a thread works, when time passes.

Nothing else decides. The clock stands still but when the loop moves it; what SQLite's threads are asked to do is one
step of the loop each, done while everything else waits. So a seed is one schedule, and gives the same one again.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

import aiosqlite
from aiosqlite.core import _connection_worker_thread

PATIENCE: Final = 60
"""Seconds of real time that one step of a thread may take."""
SOON: Final = 0.25
"""Seconds of the loop's time: a timer due within them may come before work that is ready, as on a slow machine."""
FOREVER: Final = 3600.0
"""Seconds of the loop's time after which nothing more can be expected."""
TOO_MANY: Final = 100_000


class Stuck(Exception):  # noqa: N818 - a verdict, not an error
    """The schedule does not end: somebody waits for what never comes, or turns in a circle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """How a schedule chooses: a share each, for threads against callbacks, and for time against both."""

    threads: float
    time: float
    newest: float
    """How often the callback that became ready last is taken, against any at all."""
    oldest: float


def _mood(chance: random.Random) -> Mood:
    return Mood(
        threads=chance.choice((0.02, 0.1, 0.3, 0.5, 0.9)),
        time=chance.choice((0.0, 0.0, 0.01, 0.05)),
        newest=chance.choice((0.0, 0.0, 0.3, 0.8)),
        oldest=chance.choice((0.0, 0.0, 0.5)),
    )


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Runs one schedule. No sockets, no signals, no thread but those of `Stepped` connections."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._mood = _mood(self._chance)
        self._clock = 1000.0
        self._waiting: dict[int, deque[tuple[_Stepwise, Any]]] = {}
        self._answers: SimpleQueue[asyncio.Handle] = SimpleQueue()
        self.after_thread: Callable[[], None] = lambda: None
        """Called after each step of a thread."""
        self.at_step: dict[int, Callable[[], None]] = {}
        self.steps = 0
        self.trace = 0
        """A number that two runs of one schedule have in common."""
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]

    def time(self) -> float:
        return self._clock

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        if asyncio._get_running_loop() is self:
            return self.call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        self._answers.put(handle)
        return handle

    def ask(self, queue: _Stepwise, job: Any) -> None:
        """Give a thread something to do; when it does it is a step of its own."""
        self._waiting.setdefault(id(queue), deque()).append((queue, job))

    async def settled(self) -> None:
        """Wait until all that is ready has run; what waits for time or for others goes on waiting."""
        while self._ready or self._waiting:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)

    def _run_once(self) -> None:
        # A transaction is carried out in one go or in two; nobody else's comes in between: the file is locked.
        threads = [key for key, jobs in self._waiting.items() if jobs[0][0].mid_way()] or list(self._waiting)
        timer = self._next_timer()
        roll, mood = self._chance.random(), self._mood
        if timer is not None and timer - self._clock <= SOON and roll < mood.time:
            self._pass_time()
        elif threads and (not self._ready or self._chance.random() < mood.threads):
            self._step_thread(self._chance.choice(threads))
        elif self._ready:
            self._step_callback()
        elif timer is not None:
            self._pass_time()
        elif not self._stopping:
            raise Stuck("nothing is left to run, and somebody still waits")

    def _step_callback(self) -> None:
        ready, roll = self._ready, self._chance.random()
        place = 0
        if roll < self._mood.newest:
            place = len(ready) - 1
        elif roll >= self._mood.newest + self._mood.oldest:
            place = self._chance.randrange(len(ready))
        handle = ready[place]
        del ready[place]
        if handle._cancelled:
            return
        self._count(place, len(ready))
        handle._run()

    def _step_thread(self, key: int) -> None:
        jobs = self._waiting[key]
        queue, job = jobs.popleft()
        if not jobs:
            del self._waiting[key]
        self._count(-1, len(self._waiting))
        queue.put(job)
        self._ready.append(self._answers.get(timeout=PATIENCE))
        self.after_thread()

    def _next_timer(self) -> float | None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0].when() if self._scheduled else None

    def _pass_time(self) -> None:
        handle = heapq.heappop(self._scheduled)
        handle._scheduled = False
        self._clock = max(self._clock, handle.when())
        if self._clock > 1000.0 + FOREVER:
            raise Stuck("an hour went by, and somebody still waits")
        self._count(-2, len(self._scheduled))
        self._ready.append(handle)

    def _count(self, *what: int) -> None:
        self.steps += 1
        if self.steps > TOO_MANY:
            raise Stuck(f"after {TOO_MANY} steps somebody is still at work")
        self.trace = hash((self.trace, *what))
        if (strike := self.at_step.pop(self.steps, None)) is not None:
            strike()


class _Stepwise:
    """A connection's queue of jobs: what the loop puts in waits for its turn in the schedule."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._loop = asyncio.get_running_loop()

    def put_nowait(self, job: Any) -> None:
        if isinstance(self._loop, ShuffledLoop) and asyncio._get_running_loop() is self._loop:
            self._loop.ask(self, job)
        else:
            self.put(job)

    def put(self, job: Any) -> None:
        self._queue.put(job)

    def mid_way(self) -> bool:
        """Whether the last job left a transaction open, and the next one ends it."""
        connection = self.connection._connection
        return connection is not None and connection.in_transaction

    def get(self) -> Any:
        return self._queue.get()


class _Stepped(aiosqlite.Connection):
    def __init__(self, connector: Any, iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self._tx = _Stepwise(self)  # type: ignore[assignment]
        self._thread = Thread(target=_connection_worker_thread, args=(self._tx,), daemon=True)


@contextmanager
def stepped_threads() -> Iterator[None]:
    """Within, connections are opened with their threads under the loop's command."""
    real = aiosqlite.Connection
    aiosqlite.Connection = _Stepped  # type: ignore[misc]
    try:
        yield
    finally:
        aiosqlite.Connection = real  # type: ignore[misc]
