"""A thousand rounds in a window of 8,000 tokens: a sample of what `python -m tests.compaction.long_run` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compaction.long_run import LADDER, WINDOW, long_run


@pytest.mark.acceptance("E1", "E2", "E3", "E8")
@pytest.mark.parametrize(
    ("ladder", "rounds"),
    [(LADDER, 1000), (("keep_first_and_last",), 200), (("least_recently_used",), 200), (("user_words",), 200)],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else None,
)
async def test_a_session_goes_on_for_ever_in_a_small_window(tmp_path: Path, ladder: Sequence[str], rounds: int) -> None:
    """Never an overflow, no instruction lost, every row readable, and no round dearer than another."""
    told = await long_run(tmp_path, rounds, rounds_a_turn=rounds // 5, ladder=ladder)
    assert told.rounds >= rounds
    assert told.turns == 5
    assert told.refused == 0
    assert sum(told.compactions.values()) >= rounds // 100
    assert 0.5 * WINDOW < told.longest <= WINDOW
    assert max(told.most, told.active) < 200
    assert told.stored > 3 * rounds
    first, last = told.statements
    assert first == last, "store work a round does not grow"
