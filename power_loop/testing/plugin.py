"""The pytest plugin behind `pytest --pyargs power_loop.testing.conformance`: which store and sink to hold to the rules.

An entry point loads it, since pytest reads the options of a package named by `--pyargs` too late. It does nothing else.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("power-loop", "conformance of stores and sinks (power_loop.testing.conformance)")
    group.addoption(
        "--session-store",
        metavar="MODULE:FUNCTION",
        help="`async def function(folder: Path) -> SessionStore`: opens the store of that folder, again and again",
    )
    group.addoption(
        "--message-sink",
        metavar="MODULE:FUNCTION",
        help="`async def function(folder: Path) -> MessageSink`: opens the sink of that folder; with an attribute "
        "`recorded`, `function.recorded(folder)` gives the facts it took in as a list of dicts",
    )
