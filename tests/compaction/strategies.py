"""The strategies that are tried, by name: a few values of each, and ladders of several."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from power_loop.compaction.ladder import Strategy
from power_loop.compaction.strategies import (
    ClearToolResults,
    KeepFirstAndLast,
    LeastRecentlyUsed,
    Never,
    SlidingWindow,
    UserWords,
)
from power_loop.compaction.summary import Summary

SMALL: Final = st.integers(0, 5)

KINDS: Final[dict[str, st.SearchStrategy[Strategy]]] = {
    "summary": st.just(Summary()),
    "clear_tool_results": st.builds(ClearToolResults, keep=st.integers(0, 3), over=st.sampled_from((0, 0, 20, 100))),
    "keep_first_and_last": st.builds(KeepFirstAndLast, first=SMALL),
    "least_recently_used": st.just(LeastRecentlyUsed()),
    "sliding_window": st.builds(SlidingWindow, turns=st.integers(1, 5)),
    "user_words": st.builds(UserWords, tokens=st.integers(0, 600)),
    "none": st.just(Never()),
}

ANY: Final = st.one_of(*KINDS.values())

OTHER: Final = st.one_of(st.just(Summary()), ANY)
"""What folded before: a summary as often as not, for what it says is to be carried on."""
