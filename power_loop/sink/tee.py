"""Several sinks as one: the first decides, the others listen."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from power_loop.engine.facts import Fact
from power_loop.sink.message_sink import MessageSink

LOG = logging.getLogger("power_loop.sink")


class TeeSink:
    """Facts go to `first`, and once it has them to each of `others`.

    What `first` raises leaves `record`, and the others never hear of those facts. One of the others that raises is
    logged and hears no more: it can neither change history nor make a tool run twice.
    """

    def __init__(self, first: MessageSink, *others: MessageSink) -> None:
        self._first = first
        self._others = list(others)

    async def record(self, facts: Sequence[Fact]) -> None:
        await self._first.record(facts)
        for sink in tuple(self._others):
            try:
                await sink.record(facts)
            except Exception:  # a listener's fault stays the listener's
                LOG.exception("sink %r failed and is dropped", sink)
                if sink in self._others:  # else it failed for another session at the same time
                    self._others.remove(sink)

    async def aclose(self) -> None:
        try:
            await self._first.aclose()
        finally:
            for sink in self._others:
                try:
                    await sink.aclose()
                except Exception:  # as above
                    LOG.exception("sink %r could not be closed", sink)
