"""Who runs the turn: one file a contestant, each with one class of that file's name in `PEER`.

A file's top imports only the standard library and `bench`, since the driver reads it without the contestant's packages;
what it needs besides is imported in `open`. A new peer is one new file, and its name in `ORDER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Final

ORDER: Final = (
    "ours",
    "ours_aiohttp",
    "ours_normal",
    "ours_null",
    "sqlite_message",
    "sqlite_group",
    "sockets",
    "sockets_group",
    "openai_post",
    "openai_typed",
    "langgraph",
    "langgraph_sync",
    "agents_sdk",
    "dbos_sqlite",
    "pydantic_ai",
    "power_loop_020",
    "power_loop_020_full",
)
"""How tables list them."""
WITHOUT_VENV: Final = ("ours", "ours_null", "openai_post", "sockets", "sqlite_message", "sqlite_group")
"""Those of `--quick`."""


class Peer:
    """A contestant: opened once, runs turns in numbered sessions, one after the other or many at once, closed."""

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """What its environment needs, with exact versions; none: it runs in the benchmark's own."""
    setting: ClassVar[str]
    """What it does for durability, in words."""
    equally_durable: ClassVar[bool] = False
    """Every step is flushed before the next effect, with synchronous=FULL or what equals it."""
    stores: ClassVar[bool] = True
    in_process: ClassVar[bool] = True
    over_http: ClassVar[bool] = True

    def __init__(self) -> None:
        self.asked = 0

    def load(self) -> None:
        """Import what it needs, where that is to be timed apart from opening."""

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        """Get ready, with all databases in `folder`. The model is in process if there is no `url`.

        Session n has `histories[n]` messages already; later ones are new.
        """
        raise NotImplementedError

    async def turn(self, session: int) -> None:
        """One turn on the session's next question."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give everything back."""

    @property
    def client_seconds(self) -> float | None:
        """What the model's client has taken so far, where it can be told apart."""
        return None

    @property
    def commits(self) -> int | None:
        """How many commits so far, where it knows."""
        return None

    def next_number(self) -> int:
        """The number of the next question: no two turns of a contestant share one, nor one of its history."""
        self.asked += 1
        return 1_000_000 + self.asked


def peer(name: str) -> type[Peer]:
    """The class of a contestant; nothing of its packages is imported."""
    found: type[Peer] = import_module(f"bench.peers.{name}").PEER
    return found
