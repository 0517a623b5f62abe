"""The project's own store and sinks keep to the contract that third parties are held to."""

from __future__ import annotations

from pathlib import Path

import pytest

from power_loop import open_store
from power_loop.store import SessionStore
from power_loop.testing.conformance import OpenStore, SessionStoreConformance


@pytest.mark.acceptance("A1", "B1", "B9", "D1", "D2")
class TestSqlite(SessionStoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        async def opening() -> SessionStore:
            return await open_store(tmp_path / "agent.db")

        return opening
