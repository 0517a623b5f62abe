"""Facts in short, for sinks that show them to people: what is simple in one, and which calls it speaks of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Final, TypeAlias

from power_loop.engine import facts as f
from power_loop.engine.turns import NEXT
from power_loop.values import CallKey, SessionId, cleaned

Simple: TypeAlias = str | int | float | bool

LONGEST: Final = 200
"""Characters of a text that are shown."""

SPOKEN: Final = frozenset(
    {
        *("answer", "arguments", "body", "comment", "content", "guidance", "input", "message"),
        *("note", "nudge", "output", "prompt", "question", "result", "text"),
    }
)
"""Fields that hold what people, models and tools say. They are private unless somebody asks for them."""

_ENDS: Final = {kind for _, kind in NEXT} - {kind for (_, kind), state in NEXT.items() if state.live}


def ends_turn(fact: f.Fact) -> bool:
    """Whether a turn is over with it, as the table of turns says."""
    return type(fact) in _ENDS


def scalars(fact: f.Fact, *, spoken: bool = False, longest: int = LONGEST) -> dict[str, Simple]:
    """The simple fields of a fact of any kind, but for its session and turn; texts are cut."""
    found: dict[str, Simple] = {}
    for field in fields(fact):
        if field.name not in ("session", "turn") and (spoken or field.name not in SPOKEN):
            value = _simple(getattr(fact, field.name), longest)
            if value is not None:
                found[field.name] = value
    return found


def _simple(value: object, longest: int) -> Simple | None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return cut(value, longest)
    if isinstance(value, CallKey):
        return f"{value.seq}.{value.ordinal}"
    return value if isinstance(value, bool | int | float) else None


def cut(text: str, longest: int = LONGEST) -> str:
    """A text that can be sent anywhere: not too long, and no half characters in it."""
    return cleaned(text if len(text) <= longest else f"{text[: max(0, longest - 3)]}...")


def model_calls(fact: f.Fact) -> Iterator[f.ModelCall]:
    """The requests to a model that a fact of any kind tells of."""
    for field in fields(fact):
        value = getattr(fact, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, f.ModelCall):
                yield one


@dataclass(frozen=True, slots=True)
class Named:
    """A call as people know it."""

    name: str
    id: str


class CallNames:
    """Which calls the running turns have: facts speak of them by their places.

    Forgets a turn when it ends, or another begins in its session; and the oldest where there are too many.
    """

    def __init__(self, turns: int = 10_000) -> None:
        self._turns = turns
        self._known: OrderedDict[SessionId, dict[CallKey, Named]] = OrderedDict()

    def hear(self, fact: f.Fact) -> None:
        """Learn what a fact says of calls."""
        if isinstance(fact, f.TurnBegan):
            self._known[fact.session] = {}
            self._known.move_to_end(fact.session)
            while len(self._known) > self._turns:
                self._known.popitem(last=False)
        known = self._known.get(fact.session)
        if known is not None:
            for call in requested(fact):
                known[call.key] = Named(call.name, call.id)

    def of(self, session: SessionId, key: CallKey) -> Named | None:
        return self._known.get(session, {}).get(key)

    def forget(self, session: SessionId) -> None:
        self._known.pop(session, None)

    def __len__(self) -> int:
        return len(self._known)


def requested(fact: f.Fact) -> Iterator[f.RequestedCall]:
    """The calls that a fact of any kind brings with their names."""
    for field in fields(fact):
        value = getattr(fact, field.name)
        for one in value if isinstance(value, tuple) else ():
            if isinstance(one, f.RequestedCall):
                yield one


def keys(fact: f.Fact) -> Iterator[CallKey]:
    """The calls that a fact of any kind names by their places."""
    for field in fields(fact):
        value = getattr(fact, field.name)
        for one in (value,) if isinstance(value, CallKey) else value if isinstance(value, tuple) else ():
            if isinstance(one, CallKey):
                yield one
