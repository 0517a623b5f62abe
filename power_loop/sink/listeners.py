"""An app's sinks beside a turn: each hears every fact after its commit, and none can hold the turn up or change it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from power_loop.engine.facts import Fact
from power_loop.errors import ConfigError
from power_loop.sink.message_sink import MessageSink
from power_loop.values import shown

LOG = logging.getLogger("power_loop.sink")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkLimits:
    """What a listening sink may cost a loop before it is dropped, or no longer waited for.

    Raises:
        ConfigError: one of them is no positive number.
    """

    queued_facts: int = 10_000
    """Facts that may wait for one sink; one more and it is dropped."""
    record_seconds: float = 10.0
    """How long one `record` may take; then it is cancelled, and the sink dropped."""
    turn_seconds: float = 1.0
    """How long a turn that has ended waits for the sinks to hear of it."""
    close_seconds: float = 5.0
    """How long closing the loop waits for the sinks to hear the rest; and then as long again for each to close."""

    def __post_init__(self) -> None:
        problems = [
            f"sink_limits.{field.name} is {shown(value)}: give a number above 0"
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), bool)
            or not isinstance(value, int | float)
            or math.isnan(value)
            or value <= 0
        ]
        if problems:
            raise ConfigError(problems)


class Listeners:
    """Sinks that listen: a `MessageSink` whose `record` only puts facts in line, so it never waits and never raises.

    Each sink has a line of its own and a task that hands on what is in it, one `record` after the other, batch by
    batch as they were recorded: so facts of one session come in order, and one sink never waits for another. One that
    raises, takes too long or falls too far behind is logged on `power_loop.sink` and dropped: what it was doing is
    cancelled, and it hears no more, of any session. The task is no turn's: cancelling a turn tears no sink's record.

    A sink that blocks the whole event loop (a plain `time.sleep`) holds up everything, and nothing here can help it.
    Bound to the event loop that first records.
    """

    def __init__(self, sinks: Iterable[MessageSink], limits: SinkLimits | None = None) -> None:
        self._limits = limits or SinkLimits()
        self._lines = [_Line(sink, self._limits) for sink in sinks]
        self._closed = False

    async def record(self, facts: Sequence[Fact]) -> None:
        """Put facts in line for every sink. Returns at once."""
        if not self._closed:
            for line in self._lines:
                line.add(facts)

    async def caught_up(self) -> None:
        """Wait until every sink has heard what was recorded so far, but no longer than `turn_seconds`.

        One that has not by then is not waited for again before it has heard everything.
        """
        late = await _heard([line for line in self._lines if not line.behind], self._limits.turn_seconds)
        for line in late:
            line.behind = True

    async def aclose(self) -> None:
        """Give the sinks `close_seconds` to hear the rest, drop those that have not, and close all, the dropped too.

        Ends within twice that, whatever a sink does; what one raises is logged.
        """
        if self._closed:
            return
        self._closed = True
        for line in await _heard(self._lines, self._limits.close_seconds):
            line.drop(f"it had not heard everything {self._limits.close_seconds:g} s after the loop was closed")
        await asyncio.gather(*(_close(line.sink, self._limits.close_seconds) for line in self._lines))

    def __len__(self) -> int:
        """How many sinks still listen."""
        return sum(not line.dropped for line in self._lines)


class _Line:
    """What waits for one sink, and the task that hands it on. The task lives while there is something to hand on."""

    def __init__(self, sink: MessageSink, limits: SinkLimits) -> None:
        self.sink = sink
        self.dropped = False
        self.behind = False
        """A turn has waited for it in vain."""
        self._limits = limits
        self._waiting: deque[tuple[Fact, ...]] = deque()
        self._facts = 0
        self._added = self._heard = 0
        """Batches so far."""
        self._marks: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Who waits, and for how many batches."""
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle

    def add(self, facts: Sequence[Fact]) -> None:
        if self.dropped or not facts:
            return
        if self._facts and self._facts + len(facts) > self._limits.queued_facts:
            self.drop(f"{self._facts} facts wait for it, and no more than {self._limits.queued_facts} may")
            return
        self._waiting.append(tuple(facts))
        self._facts += len(facts)
        self._added += 1
        if self._task is None:
            # In a context of its own: it works for many turns, and none of theirs would be right.
            self._task = asyncio.get_running_loop().create_task(
                self._hand_on(), name=f"sink {shown(self.sink)}", context=contextvars.Context()
            )

    def heard(self) -> asyncio.Future[None] | None:
        """Done once the sink has heard what is in line now, or hears no more; None: it has already."""
        if self.dropped or self._heard == self._added:
            return None
        future = asyncio.get_running_loop().create_future()
        self._marks.append((self._added, future))
        return future

    def drop(self, why: str, error: BaseException | None = None) -> None:
        LOG.error("sink %s is dropped: %s", shown(self.sink), why, exc_info=error)
        self.dropped = True
        self._waiting.clear()
        self._facts = 0
        self._tell()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _hand_on(self) -> None:
        try:
            while self._waiting:
                facts = self._waiting.popleft()
                self._facts -= len(facts)
                # Twice half the time: where something else blocked the event loop for long, the sink is not to blame.
                self._alarm = self._in_half_the_time(self._half_over, facts)
                try:
                    await self.sink.record(facts)
                finally:
                    self._alarm.cancel()
                self._heard += 1
                self._tell()
            self.behind = False
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if not self.dropped and task is not None and task.cancelling():
                raise  # the event loop is ending
            if not self.dropped:
                self.drop("it raised CancelledError", error)
        except Exception as error:  # noqa: BLE001 - a listener's fault stays the listener's
            if not self.dropped:
                self.drop(f"it raised {type(error).__name__} over {_named(facts)}", error)
        finally:
            self._task = None

    def _half_over(self, facts: Sequence[Fact]) -> None:
        why = f"it took more than {self._limits.record_seconds:g} s over {_named(facts)}"
        self._alarm = self._in_half_the_time(self.drop, why)

    def _in_half_the_time(self, what: Callable[[T], None], of: T) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._limits.record_seconds / 2, what, of)

    def _tell(self) -> None:
        """Let go who waits for no more than the sink has heard; all of them, once it hears no more."""
        while self._marks and (self.dropped or self._marks[0][0] <= self._heard):
            _, future = self._marks.popleft()
            if not future.done():
                future.set_result(None)


async def _heard(lines: Sequence[_Line], seconds: float) -> list[_Line]:
    """Wait until all have heard what is in line for them; those that have not after so long."""
    waits = {future: line for line in lines if (future := line.heard()) is not None}
    if not waits:
        return []
    _, late = await asyncio.wait(waits, timeout=seconds)
    return [waits[future] for future in late]


async def _close(sink: MessageSink, seconds: float) -> None:
    """Close a sink, or leave it behind where that takes too long."""
    closing = asyncio.create_task(_closing(sink), name=f"closing sink {shown(sink)}")
    await asyncio.wait([closing], timeout=seconds)
    if not closing.done():
        LOG.error("sink %s could not be closed: its aclose() took more than %g s", shown(sink), seconds)
        closing.cancel()


async def _closing(sink: MessageSink) -> None:
    try:
        await sink.aclose()
    except Exception:  # as above
        LOG.exception("sink %s could not be closed", shown(sink))


def _named(facts: Sequence[Fact]) -> str:
    """Which facts these are, for the log."""
    first = facts[0]
    more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
    return f"{type(first).__name__}{more} of session {shown(first.session)}"
