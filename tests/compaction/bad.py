"""Strategies as an app might get them wrong. `given` says whether the last window gave occasion for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from power_loop.compaction.window import Folding, NotFolded, Unit, Window
from power_loop.transcript.view import Entry


@dataclass
class Bad:
    name: str
    how: Callable[[Window], Any]
    given: bool = False

    async def fold(self, window: Window) -> Any:
        self.given = True
        folding = self.how(window)
        self.given = folding is not None
        return folding


def entries(units: Sequence[Unit]) -> list[Entry]:
    return [entry for unit in units for entry in unit.entries]


def notes(window: Window) -> list[Entry]:
    return entries([unit for unit in window.units if unit.note])


def note(folded: Sequence[Entry], text: Any = "n") -> Folding | None:
    return Folding(folded=folded, note=text) if folded else None


def results(window: Window) -> list[Entry]:
    return [entry for entry in entries(window.units) if entry.role == "tool"]


def split(window: Window) -> Folding | None:
    rounds = [unit for unit in window.foldable if len(unit.entries) > 1]
    return note([*notes(window), *entries(rounds)[:-1]]) if rounds else None


def orphan(window: Window) -> Folding | None:
    rounds = [unit for unit in window.foldable if len(unit.entries) > 1]
    return note([*notes(window), *entries(rounds)[1:]]) if rounds else None


def kept(window: Window) -> Folding | None:
    return note(entries(window.units))


def one_kept(window: Window) -> Folding | None:
    stays = [unit for unit in window.units if unit.kept]
    return note([*entries(window.foldable), *stays[0].entries]) if stays else None


def two_notes(window: Window) -> Folding | None:
    if not notes(window):
        return None
    return note(entries([unit for unit in window.foldable if not unit.note]))


def no_gain(window: Window) -> Folding | None:
    folded = entries(window.foldable)
    return note(folded, "long " * (1 + sum(len(entry.wire) for entry in folded)))


def twice(window: Window) -> Folding | None:
    return note(entries(window.foldable) * 2)


def elsewhere(window: Window) -> Folding | None:
    return note([*entries(window.foldable), Entry(10**6, 10**6, "user", "{}")])


def both(window: Window) -> Folding | None:
    some = results(window)
    return Folding(folded=some, note="n", results={entry.seq: "r" for entry in some}) if some else None


def neither(window: Window) -> Folding | None:
    folded = entries(window.foldable)
    return Folding(folded=folded) if folded else None


def no_text(window: Window) -> Folding | None:
    some = results(window)
    return Folding(folded=some, results={entry.seq: "r" for entry in some[1:]}) if len(some) > 1 else None


def another_text(window: Window) -> Folding | None:
    some = results(window)
    return Folding(folded=some, results={entry.seq: "r" for entry in some} | {-1: "r"}) if some else None


def disguised(window: Window) -> Folding | None:
    """Calls what it folds a result, under the number of a user's message."""
    said = [entry for entry in entries(window.units) if entry.role == "user"]
    forged = [Entry(e.place, e.seq, "tool", '{"role":"tool","content":"r","tool_call_id":"1.0"}') for e in said]
    return Folding(folded=forged, results={entry.seq: "r" for entry in said}) if said else None


def again(window: Window) -> Folding | None:
    cleared = [entry for entry in results(window) if entry.note]
    return Folding(folded=cleared, results={entry.seq: "" for entry in cleared}) if cleared else None


def raises(kind: type[Exception], *words: str) -> Callable[[Window], Any]:
    def how(_: Window) -> Any:
        raise kind(*words)

    return how


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def forged(window: Window) -> Any:
    """No folding, but it looks like one."""
    return {"folded": entries(window.foldable), "note": "n"}


HOW: Final[dict[str, Callable[[Window], Any]]] = {
    "splits an answer from its results": split,
    "leaves results without their answer": orphan,
    "folds everything": kept,
    "folds one that must stay": one_kept,
    "leaves two notes": two_notes,
    "gains nothing": no_gain,
    "names a message twice": twice,
    "folds what is not there": elsewhere,
    "gives a note and results": both,
    "gives nothing for what it folds": neither,
    "gives no text for a result": no_text,
    "gives a text for no result": another_text,
    "calls a user's message a result": disguised,
    "clears a result again": again,
    "says nothing": lambda window: note([*entries(window.foldable)], " \n"),
    "says a number": lambda window: note([*entries(window.foldable)], 7),
    "says what is no Unicode": lambda window: note([*entries(window.foldable)], "\ud800"),
    "folds nothing": lambda _: Folding(folded=[], note="n"),
    "gives a word": lambda _: "folded",
    "gives a number": lambda _: 7,
    "gives a dict": forged,
    "gives numbers for messages": lambda window: Folding(folded=[1, 2], note="n"),  # type: ignore[list-item]
    "gives no list": lambda window: Folding(folded=None, note="n"),  # type: ignore[arg-type]
    "cannot": raises(NotFolded, "I cannot"),
    "raises": raises(ValueError, "a bug"),
    "raises without words": raises(SpeechlessError),
    "raises what is no Unicode": raises(ValueError, "\ud800"),
    "recurses": raises(RecursionError),
}

BAD: Final = {name: Bad(name, how) for name, how in HOW.items()}
