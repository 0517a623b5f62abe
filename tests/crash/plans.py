"""What the client of a seeded scenario does: sessions, inputs in waves, the rounds each asks for, how it is stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Manner = Literal["send", "stream"]
Stop = Literal["cancel", "stop_event", "request_stop"]
Busy = Literal["wait", "steer"]

SAFE: Final = ("look", "look_slowly", "put", "put_slowly")
ONCE: Final = ("pay", "pay_slowly", "ship", "refund", "order")
ODD: Final = ("breaks", "late", "late_in_a_thread", "teleport", "malformed", "wrong")
"""A tool that raises, two that take too long, one that is not there, and arguments that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """One input. `text` names it, for the model must know from the history alone what to do."""

    text: str
    request: str
    session: str | None
    rounds: tuple[tuple[str, ...], ...]
    """The tools each round calls."""
    manner: Manner = "send"
    stop: Stop | None = None
    """Stopped once a tool of it was entered, or its model was asked."""
    delay: float = 0.0
    """Seconds the model thinks."""
    busy: Busy = "wait"
    """What becomes of it where a turn runs already."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    seed: int
    clients: tuple[tuple[tuple[Act, ...], ...], ...]
    """For each process its waves: what stands in one is sent at once."""
    sessions: tuple[str, ...]
    in_doubt: str
    context_window: int
    max_rounds: int

    @property
    def acts(self) -> Iterator[Act]:
        return (act for waves in self.clients for wave in waves for act in wave)

    def settings(self) -> dict[str, Any]:
        return {
            "system_prompt": "Be brief.",
            "in_doubt": self.in_doubt,
            "context_window": self.context_window,
            "max_rounds": self.max_rounds,
        }


def plan_of(seed: int) -> Plan:
    """The plan of a seed: every third has two processes, every fourth folds its history, many stop a turn."""
    chance = random.Random(seed)
    processes = 2 if seed % 3 == 2 else 1
    folds = seed % 4 == 1
    sessions = tuple(f"session {n}" for n in range(chance.randint(1, 3)))
    clients = tuple(
        tuple(_wave(chance, number, wave, sessions, folds) for wave in range(chance.randint(1, 3)))
        for number in range(processes)
    )
    return Plan(
        seed=seed,
        clients=clients,
        sessions=sessions,
        in_doubt=chance.choice(("report", "report", "retry", "ask")),
        context_window=700 if folds else 128_000,
        max_rounds=chance.choice((24, 24, 1)),
    )


def _wave(chance: random.Random, number: int, wave: int, sessions: tuple[str, ...], folds: bool) -> tuple[Act, ...]:
    count = chance.choice((1, 1, 2, 3))
    return tuple(_act(chance, f"{number}.{wave}.{place}", sessions, folds) for place in range(count))


def _act(chance: random.Random, name: str, sessions: tuple[str, ...], folds: bool) -> Act:
    padding = " And some more of the history that will be folded." * (6 if folds else 0)
    rounds = tuple(_round(chance) for _ in range(chance.choice((0, 1, 1, 2))))
    return Act(
        text=f"Do {name}.{padding}",
        request=f"request {name}",
        session=None if chance.random() < 0.15 else chance.choice(sessions),
        rounds=rounds,
        manner="stream" if chance.random() < 0.3 else "send",
        stop=chance.choice(("cancel", "stop_event", "request_stop")) if rounds and chance.random() < 0.25 else None,
        delay=chance.choice((0.0, 0.0, 0.01)),
        busy="steer" if chance.random() < 0.25 else "wait",
    )


def _round(chance: random.Random) -> tuple[str, ...]:
    """Safe calls side by side, then maybe a `once` call, or something odd."""
    wanted = [chance.choice(SAFE) for _ in range(chance.randint(0, 3))]
    if not wanted or chance.random() < 0.6:
        wanted.append(chance.choice(ONCE))
    if chance.random() < 0.25:
        wanted.append(chance.choice(ODD))
    chance.shuffle(wanted)
    return tuple(wanted)
