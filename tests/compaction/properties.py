"""What must hold of every strategy and every history, as functions that Hypothesis calls."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from power_loop.compaction.ladder import Strategy, Tried, climb
from power_loop.compaction.window import Window
from power_loop.transcript.measure import Measure
from tests.compaction.bad import BAD
from tests.compaction.growth import STEPS, Step, grow, lived
from tests.compaction.kit import History, Summariser, run
from tests.compaction.promises import check_counts, check_promise
from tests.compaction.strategies import ANY, KINDS, OTHER

COUNTED: Final = st.sampled_from((None, None, 0.5, 1.0, 1.6))
"""The provider's count of the whole, as a share of our estimate; None: it has not counted."""

NONSENSE: Final = st.one_of(COUNTED, st.just(0.01))

RANDOM: Final = st.randoms(use_true_random=False)


def window_of(history: History, step: Step, counted: float | None, summariser: Summariser) -> Window:
    estimated = sum(Measure().tokens(entry.wire) for entry in history.view)
    tokens = None if counted is None else max(1, round(estimated * counted))
    return history.window(
        target=(estimated if tokens is None else tokens) * step.size // 120,
        tokens=tokens,
        summarise=summariser,
        handle=lambda seq: f"1.{seq}",
    )


def folded(history: History, strategies: Sequence[Strategy], window: Window) -> Tried:
    """Climb, check what holds whatever was tried, and record it."""
    before = list(history.view)
    stay = {*history.view.unanswered(), *(e.seq for e in before if e.pinned or e.role == "system")}
    newest = set(history.newest_round)
    tried = run(climb(strategies, window))
    assert list(history.view) == before, "a strategy changes nothing itself"
    done = tried.compaction
    if done is None:
        return tried
    check_counts(done, window)
    history.take(done)
    seen = {entry.seq for entry in history.view}
    assert stay <= seen, "the system prompt, what is pinned and the current requests stay"
    lost = newest - seen
    assert not lost or (
        done.strategy == "clear_tool_results" and all(e.role == "tool" for e in before if e.seq in lost)
    )
    return tried


def one_strategy(name: str) -> Callable[[], None]:
    """Its promise, over any history that any strategies have folded before."""

    @given(KINDS[name], STEPS, NONSENSE, OTHER, st.booleans(), RANDOM)
    def tried(
        strategy: Strategy,
        steps: Sequence[Step],
        counted: float | None,
        other: Strategy,
        prompted: bool,
        random: Random,
    ) -> None:
        history, summariser = lived(prompted), Summariser()
        for step in steps:
            if step.what not in ("fold", "other"):
                grow(history, step)
                continue
            summariser.length, summariser.fails = step.more * 40, step.more == 11
            chosen = strategy if step.what == "fold" else other
            window, note = window_of(history, step, counted, summariser), history.summary_note
            done = folded(history, [chosen], window).compaction
            if done is not None:
                assert done.strategy == chosen.name
                check_promise(chosen, done, window, note)
            history.check(random)

    return tried


@given(st.lists(ANY, max_size=4), STEPS, NONSENSE, st.booleans(), RANDOM)
def ladders(
    strategies: Sequence[Strategy], steps: Sequence[Step], counted: float | None, prompted: bool, random: Random
) -> None:
    """Of several the first that gets there is taken, or else the one that frees most."""
    history = lived(prompted)
    for step in steps:
        if step.what not in ("fold", "other"):
            grow(history, step)
            continue
        window = window_of(history, step, counted, Summariser(step.more * 40, fails=step.more == 11))
        alone = [found for s in strategies if (found := run(climb([s], window)).compaction) is not None]
        there = [found for found in alone if found.after_tokens <= window.target]
        best = there[0] if there else min(alone, key=lambda found: found.after_tokens, default=None)
        done = folded(history, strategies, window).compaction
        assert (done is None) is (best is None)
        if done is not None and best is not None:
            assert (done.strategy, done.folded, done.after_tokens) == (best.strategy, best.folded, best.after_tokens)
        history.check(random)


@given(st.sampled_from(sorted(BAD)), STEPS, COUNTED, ANY, st.booleans(), RANDOM)
def bad_strategies(
    name: str, steps: Sequence[Step], counted: float | None, good: Strategy, prompted: bool, random: Random
) -> None:
    """Whatever an app's own strategy does: it is refused by name, history stays, and the next strategy is asked."""
    history = lived(prompted)
    bad = BAD[name]
    for step in steps:
        if step.what not in ("fold", "other"):
            grow(history, step)
            continue
        window = window_of(history, step, counted, Summariser(step.more * 40))
        tried = folded(history, [bad], window)
        assert tried.compaction is None
        assert [failed for failed, _ in tried.failures] == ([bad.name] if bad.given else [])
        for _, reason in tried.failures:
            assert reason.encode()
        best = run(climb([good], window)).compaction
        done = folded(history, [bad, good], window).compaction
        assert (None if done is None else done.folded) == (None if best is None else best.folded)
        history.check(random)


PROPERTIES: Final[dict[str, Callable[[], None]]] = {
    **{name: one_strategy(name) for name in KINDS},
    "ladders": ladders,
    "bad strategies": bad_strategies,
}
"""All of them, by name."""


class Ran(NamedTuple):
    name: str
    seconds: float
    failed: str
    """The smallest example that fails, as Hypothesis tells it."""


def run_one(name: str, examples: int, seeded: int) -> Ran:
    how = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    begun = time.monotonic()
    try:
        seed(seeded)(how(PROPERTIES[name]))()
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        return Ran(name, time.monotonic() - begun, traceback.format_exc())
    return Ran(name, time.monotonic() - begun, "")
