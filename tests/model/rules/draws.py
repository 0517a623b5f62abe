"""What rules draw from."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

SESSIONS: Final = st.sampled_from(["s0", "s0", "second"])
AGENTS: Final = st.sampled_from(["A", "A", "B"])
DIES: Final = st.one_of(st.none(), st.none(), st.none(), st.integers(1, 10))
PICK: Final = st.integers(0, 3)
