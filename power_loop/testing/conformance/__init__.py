"""Rules for stores and sinks, as tests to run over your own: `pytest --pyargs power_loop.testing.conformance`.

A file holds the rules of one subject, `store` and `sink` gather them for subclasses, `test_store` and `test_sink` run
them over what the command line names. `kit` makes turns and their facts, and reads all that can be read. Needs
pytest and pytest-asyncio (`power-loop[testing]`), which nothing else in the package does.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from power_loop.testing.conformance.kit import OpenStore  # noqa: E402
from power_loop.testing.conformance.sink import MessageSinkConformance, OpenSink  # noqa: E402
from power_loop.testing.conformance.store import SessionStoreConformance  # noqa: E402

__all__ = ["MessageSinkConformance", "OpenSink", "OpenStore", "SessionStoreConformance"]
