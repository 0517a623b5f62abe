"""A model server that fails the test if it ever refused a history."""

from __future__ import annotations

from tests.loop.conftest import server

__all__ = ["server"]
