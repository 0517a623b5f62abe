"""A model server for the tests of the loop that go over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from power_loop.testing import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server whose script a test sets with `use`; it fails the test if it ever refused a history."""
    with ScriptedServer() as running:
        yield running
        assert running.refusals == []
