"""Factories by name, `module:function`, and the project's own ones, which are tried where none is named."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from power_loop.sink import JsonlSink, MessageSink, NullSink, TeeSink
from power_loop.store import SessionStore, open_store

StoreFactory: TypeAlias = Callable[[Path], Awaitable[SessionStore]]
SinkFactory: TypeAlias = Callable[[Path], Awaitable[MessageSink]]
Recorded: TypeAlias = Callable[[Path], Sequence[Mapping[str, Any]]]


def named(name: str) -> Any:
    """The function of that name; modules of the working directory are found too.

    Raises:
        ValueError, ImportError, AttributeError: there is none.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return pkgutil.resolve_name(name)


async def sqlite(folder: Path) -> SessionStore:
    return await open_store(folder / "agent.db")


async def null(folder: Path) -> MessageSink:
    return NullSink()


async def jsonl(folder: Path) -> MessageSink:
    return JsonlSink(folder / "facts.jsonl")


async def tee(folder: Path) -> MessageSink:
    return TeeSink(JsonlSink(folder / "facts.jsonl"), NullSink())


def lines(folder: Path) -> list[Mapping[str, Any]]:
    """The facts in the file of a `JsonlSink`."""
    file = folder / "facts.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
