"""What the book writes about: calls of the API, turns that run, and refusals."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.model.hands import Hand

Said: TypeAlias = tuple[Any, ...]


class Refused(Exception):  # noqa: N818 - an outcome of the model
    """The call raises an error of this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class Op:
    """A call of the API that takes part in turns."""

    number: int
    hand: Hand
    session: str
    kind: str
    steps: Generator[None, None, Any] | None = None
    text: str | None = None
    """The input that waits for it, or was taken in."""
    done: Any = None
    parent: Any = None

    def __repr__(self) -> str:
        return f"{self.kind} {self.number} of {self.hand.name}"


@dataclass(eq=False)
class Run:
    """A turn that runs."""

    op: Op
    hand: Hand
    policy: str
    session: str
    live: bool = True
    asked: bool = False
    token: int | None = None
    """The number of the question that the model was asked."""
    empties: int = 0
    entered: dict[str, int | None] = field(default_factory=dict)
    """Calls whose functions run, and their questions' numbers."""
    doubt: set[str] = field(default_factory=set)
    unhelpful: set[str] = field(default_factory=set)
    error: str | None = None


def turn_of(origin: int, request: str | None) -> dict[str, Any]:
    return {
        "origin": origin, "state": "asking", "status": None, "request_id": request, "rounds": 0, "tool_calls": 0,
        "answer": None,
    }  # fmt: skip


def freeze(value: Any) -> Any:
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value
