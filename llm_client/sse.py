"""Server-sent events: bytes in pieces of any size to the data of whole events. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A carriage return at the very end waits: the next piece may begin with its line feed."""


class EventReader:
    """Feed it what arrives; it gives the data of each event as soon as its blank line is there.

    What was begun but not ended when the stream closes is never given: half an event is no event.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        *lines, self._rest = _LINE_END.split(self._rest + piece)
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                data, self._data = b"\n".join(self._data), []
                yield data

    def finish(self) -> Iterator[bytes]:
        """The last event, if all of its lines came and only the blank one is missing: some servers leave it out."""
        yield from self.feed(b"\n" if self._rest.endswith(b"\r") else b"")
        if not self._rest and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
