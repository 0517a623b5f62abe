"""What a strategy looks at, and what it gives back. Pure values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from power_loop.transcript.measure import CAREFUL, Measure
from power_loop.transcript.view import Entry, View

Summarise = Callable[[Sequence[Entry], int], Awaitable[str]]
"""Asks the session's model for a summary of these messages, of at most so many tokens; raises `NotFolded`."""


class NotFolded(Exception):  # noqa: N818 - a reason, not an error
    """A strategy cannot fold, and says why."""


class Unit(NamedTuple):
    """What stays or goes together: an answer with the results of its calls, or one message."""

    entries: Sequence[Entry]
    tokens: int
    kept: bool
    """It must stay: the system prompt, a pinned message, the current request, open calls, the newest round."""
    open: bool = False
    """Calls of it have no results yet."""
    newest: bool = False
    """The model has not answered it yet."""

    @property
    def note(self) -> bool:
        """The summary note of an earlier compaction."""
        return self.entries[0].note and self.entries[0].role == "user"

    @property
    def said(self) -> bool:
        """A message by the user."""
        return self.entries[0].role == "user" and not self.entries[0].note


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What a strategy would do: these messages go, and a note, or shorter results, stand in their place."""

    folded: Sequence[Entry]
    note: str | None = None
    """The text of the one note that stands where the first of them stood."""
    results: Mapping[int, str] = field(default_factory=dict)
    """Instead of a note: for each folded result, by its sequence number, the text that stands in its place."""


async def _nobody(_: Sequence[Entry], __: int) -> str:
    raise NotFolded("there is no model to ask for a summary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A session's context before a compaction. Sizes in tokens, as the provider would count them, as far as known."""

    units: Sequence[Unit]
    """All messages the model sees, in order."""
    tokens: int
    """Of the whole context now, the descriptions of tools and the like included."""
    target: int
    """Where to get to; no further than is needed."""
    size: Callable[[str], int] = CAREFUL.tokens
    """Of one message's wire text."""
    summarise: Summarise = _nobody
    handle: Callable[[int], str] | None = None
    """By which the model can read the message of that sequence number again once it is folded; None: it cannot."""

    @classmethod
    def of(
        cls,
        view: View,
        *,
        tokens: int | None = None,
        target: int,
        kept: Collection[int] = (),
        open: Collection[int] = (),
        measure: Measure = CAREFUL,
        summarise: Summarise = _nobody,
        handle: Callable[[int], str] | None = None,
    ) -> Window:
        """The window of a view, of which the system prompt, pinned messages and the newest round stay in any case.

        `kept` are the sequence numbers of more that must stay, `open` those of answers with open calls; `tokens`, if
        known, is the size of the whole context as counted.
        """
        units = [tuple(entries) for entries in view.units()]
        measured = {entry.wire: measure.tokens(entry.wire) for entry in view}
        estimated = sum(measured[entry.wire] for entry in view)
        scale = 1.0 if not tokens or not estimated else min(1.0, tokens / estimated)

        def size(wire: str) -> int:
            known = measured.get(wire)
            return max(1, round((measure.tokens(wire) if known is None else known) * scale))

        newest = _newest(units)
        return cls(
            units=tuple(
                Unit(
                    entries,
                    sum(size(entry.wire) for entry in entries),
                    kept=number >= newest or any(_stays(entry, kept, open) for entry in entries),
                    open=entries[0].seq in open,
                    newest=number >= newest,
                )
                for number, entries in enumerate(units)
            ),
            tokens=estimated if tokens is None else tokens,
            target=target,
            size=size,
            summarise=summarise,
            handle=handle,
        )

    @property
    def foldable(self) -> Sequence[Unit]:
        return [unit for unit in self.units if not unit.kept]

    def measured(self, entries: Iterable[Entry]) -> int:
        return sum(self.size(entry.wire) for entry in entries)


def _newest(units: Sequence[Sequence[Entry]]) -> int:
    """The first of the units that the model has not answered: the last one, and a round before inputs that steer."""
    at = len(units) - 1
    while at > 0 and units[at][0].role == "user":
        at -= 1
    return at if at >= 0 and units[at][-1].role == "tool" else len(units) - 1


def _stays(entry: Entry, kept: Collection[int], open: Collection[int]) -> bool:
    return entry.role == "system" or entry.pinned or entry.seq in kept or entry.seq in open
