"""The workloads by name: those that compare are in `bench/compare`, those of size in `bench/scale`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, Final

from bench.plan import Plan
from bench.report import Found

COMPARE: Final = ("turns", "sessions", "length", "fresh", "before_effect", "flushes")
SCALE: Final = ("million", "appends", "recovery", "memory", "disk", "imports")
NAMES: Final = COMPARE + SCALE


def workload(name: str) -> Callable[[Plan], Coroutine[Any, Any, Found]] | None:
    """Its `measure`; None if it is not there."""
    module = f"bench.{'compare' if name in COMPARE else 'scale'}.{name}"
    try:
        found: Callable[[Plan], Coroutine[Any, Any, Found]] = import_module(module).measure
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return None
    return found
