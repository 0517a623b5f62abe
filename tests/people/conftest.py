"""A strict model server for the tests of people in the loop, and the ledger file of what ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from power_loop.testing import ScriptedServer
from tests.people.kit import Desk


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server whose script a test sets with `use`; it fails the test if it ever refused a history."""
    with ScriptedServer() as running:
        yield running
        assert running.refusals == []


@pytest.fixture
def desk(tmp_path: Path, server: ScriptedServer) -> Desk:
    return Desk(tmp_path, server)
