"""Errors cross process borders whole: a pool's worker may raise any of them."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from power_loop.errors import (
    CallSettledError,
    ConfigError,
    ContextOverflowError,
    EpochLostError,
    HookDefinitionError,
    InputInvalidError,
    ModelRateLimitedError,
    PowerLoopError,
    SessionBusyError,
    SessionPendingError,
    StoreDamagedError,
    StoreOpenError,
)

ERRORS = [
    CallSettledError("s", "call_1", "succeeded", "nothing to do"),
    ConfigError(["a is wrong", "b too"]),
    ContextOverflowError("too long", status=400, limit=8, requested=9),
    EpochLostError("s", 1, 2),
    HookDefinitionError("f", "it is a generator", "return one verdict"),
    InputInvalidError("x", "is wrong", "mend it"),
    ModelRateLimitedError("slow down", status=429, retry_after=1.5),
    SessionBusyError("s", "host:1", datetime(2026, 1, 1, tzinfo=UTC)),
    SessionPendingError("s", []),
    StoreDamagedError("a.db", "broken", "restore", session_id="s", seq=3),
    StoreOpenError("a.db", "gone", "look", code="store.not_found"),
]


@pytest.mark.acceptance("L7")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: PowerLoopError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.code, vars(again)) == (str(error), error.code, vars(error))
