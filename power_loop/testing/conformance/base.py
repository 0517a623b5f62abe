"""What every rule is given: the storage under test, and a way to lose its owner."""

from __future__ import annotations

import pytest

from power_loop.store.contract import SessionStore
from power_loop.testing.conformance.kit import OpenStore


class StoreRules:
    """The base of all rules. Whoever runs them overrides the fixture `open_store`, and `abandon` if closing is gentler
    than dying."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """An async function without arguments that opens the storage of this test, empty at first.

        Called again it opens the same storage once more: after a restart, or as a second owner beside the first.
        """
        raise NotImplementedError("override the fixture open_store: it returns an async function that opens your store")

    async def abandon(self, store: SessionStore) -> None:
        """Let the owner behind a store die with whatever it drives. Nothing is released or recorded first."""
        await store.aclose()
