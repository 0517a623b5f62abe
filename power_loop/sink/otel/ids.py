"""Ids of traces and spans that every process finds again.

The trace of a turn comes from its session and its origin, its span from its session and its number. So all turns that
work on one input are one trace, and a process that goes on with a turn knows which span it goes on from, though the
process that had begun that span is dead and has told nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any


def trace_id(namespace: str, session: str, origin: int) -> int:
    """Of the turns that work on what turn `origin` took in."""
    return _hashed(16, b"trace", namespace, session, origin)


def span_id(namespace: str, session: str, turn: int) -> int:
    return _hashed(8, b"span", namespace, session, turn)


def _hashed(size: int, kind: bytes, namespace: str, session: str, number: int) -> int:
    text = f"{len(namespace)}:{namespace}{len(session)}:{session}{number}"
    hashed = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, person=kind).digest()
    return int.from_bytes(hashed) or 1  # 0 is no id


class ChosenIds:
    """The ids of a tracer: those that were chosen where some were, else what it made before.

    The SDK asks for the ids of a span within `start_span`, in the same thread.
    """

    def __init__(self, others: Any) -> None:
        self._others = others
        self._chosen = threading.local()

    @contextmanager
    def chosen(self, trace: int, span: int) -> Iterator[None]:
        """Within, a span gets these ids; a trace id is asked for where the span has no parent."""
        self._chosen.ids = (trace, span)
        try:
            yield
        finally:
            self._chosen.ids = None

    def generate_trace_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._chosen, "ids", None)
        return int(self._others.generate_trace_id()) if ids is None else ids[0]

    def generate_span_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._chosen, "ids", None)
        return int(self._others.generate_span_id()) if ids is None else ids[1]

    def is_trace_id_random(self) -> bool:
        """Whether samplers may take a share of the ids: a hash is as evenly spread as what the others make."""
        random = getattr(self._others, "is_trace_id_random", None)
        return random is not None and bool(random())
