"""Random histories for Hypothesis: what happens in a session, step by step, compactions among it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from hypothesis import strategies as st

from tests.compaction.kit import History

TEXTS: Final = ("word ", "語の", "é—", "😀", '{"k": "v"}', "\n\t\x00")
"""What texts are made of."""

FILES: Final = ("a.txt", "b.txt", "c.txt")


class Step(NamedTuple):
    what: str
    size: int
    """How long its texts are; of a compaction, to which percentage of the context."""
    more: int
    """Which text, how many calls, which of several strategies, ..."""


GROWTH: Final = ("user", "answer", "calls", "calls", "calls", "pinned", "image", "steered")

STEPS: Final = st.lists(
    st.builds(
        Step, st.sampled_from((*GROWTH, "fold", "fold", "other")), st.integers(0, 120), st.integers(0, 11)
    ),
    min_size=6,
    max_size=24,
)  # fmt: skip
"""`fold`: by the strategy that is tried; `other`: by another one."""


def begun(prompted: bool) -> History:
    history = History()
    if prompted:
        history.add("system", "be good")
    history.add("user", "begin")
    return history


def lived(prompted: bool) -> History:
    """A session in which there is something to fold already."""
    history = begun(prompted)
    for step in (Step("calls", 60, 1), Step("answer", 20, 0), Step("user", 20, 0), Step("calls", 40, 4)):
        grow(history, step)
    return history


def grow(history: History, step: Step) -> None:
    text = TEXTS[step.more % len(TEXTS)] * step.size
    match step.what:
        case "user" | "steered":
            # Input that steers stands behind a round; any other too, once its turn was interrupted there.
            history.add("user", f"u{history.next_seq} {text}")
        case "pinned":
            history.add("user", text or "p", pinned=True)
        case "image":
            history.add("user", text, image=True)
        case "answer":
            history.add("assistant", f"a{history.next_seq} {text}")
        case "calls":
            count = 1 + step.more % 4
            history.round(
                *(f"{number} {text * (1 + 3 * (number == 1))}" for number in range(count)),
                arguments=[{"path": FILES[(step.size + number) % 3], "n": number} for number in range(count)],
            )


def long_request(rounds: int, size: int = 300) -> History:
    """One user message with so many rounds."""
    history = begun(prompted=True)
    for number in range(rounds):
        history.round(f"r{number} ".ljust(size, "r"), arguments=[{"path": FILES[number % 3]}])
    return history


def conversation(turns: Sequence[int], size: int = 200) -> History:
    """Turns of so many rounds each, the last one answered."""
    history = History()
    history.add("system", "be good")
    for number, rounds in enumerate(turns):
        history.add("user", f"input {number} ".ljust(size, "u"))
        for _ in range(rounds):
            history.round("r" * size)
        history.add("assistant", f"answer {number} ".ljust(size, "a"))
    return history
