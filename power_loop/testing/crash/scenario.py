"""`Scenario`: what an app under test does, in a few lines of its own."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from power_loop.config import AgentLoopConfig
from power_loop.stateful_loop import StatefulAgentLoop
from power_loop.testing.crash.client import Client, People, ScenarioError
from power_loop.testing.crash.evidence import Evidence

Check: TypeAlias = Callable[[Evidence], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How an app builds its loop and what its client does. It must be found at the top of a module, by its name.

    The same inputs under the same request ids, whatever happened before: `work` is run again after a death, and what it
    sent and heard of is not sent again. The model must answer from the history alone (`ScriptedModel` with rules, or
    `server`), for the process that goes on is not the one that began.
    """

    build: Callable[[Client], StatefulAgentLoop]
    """The loop, made with `db_path=client.db_path` and `world=client.world`."""
    work: Callable[[Client, StatefulAgentLoop], Awaitable[None]]
    """Sends inputs, all through `client.send`; where calls wait for somebody, `client.attended` follows."""
    processes: int = 1
    """How many do that at once, on one file; `client.number` tells them apart. The first is the one that is killed."""
    server: str | None = None
    """MODULE:NAME of a function of the request: a strict model server is started with it, its address in `client.url`.
    """
    prepare: Callable[[str], Any] | None = None
    """Called with the server's address once, before processes are forked; they find what it gave in `client.prepared`.
    For what is slow to make; it must start no thread."""
    config: AgentLoopConfig | None = None
    """Of the kit's own loops without model and tools, where they need one."""
    after: str = "And now something else."
    """What every session is sent at the very end, and must answer."""
    people: People | None = None
    """What somebody outside says of a call that waits for it, the same each time; recoveries ask it too."""
    check: Check | None = None
    """More that must hold of what is found on disk after each death and at the end, as problems in words."""
    patience: float = 30.0
    """Seconds after which a process counts as hung."""


def found(name: str) -> Scenario:
    """The scenario that MODULE:NAME names.

    Raises:
        ScenarioError: there is none.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ScenarioError(f"{name!r} names no scenario; give MODULE:NAME")
    try:
        scenario = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ScenarioError(f"there is no scenario {name!r}: {error}") from error
    if not isinstance(scenario, Scenario):
        raise ScenarioError(f"{name} is a {type(scenario).__name__}, not a Scenario")
    return scenario
