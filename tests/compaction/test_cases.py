"""What strategies do to windows that random histories seldom show: long, tight, odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from llm_client.messages import parse
from power_loop.compaction.ladder import Compaction, Stead, Strategy, climb
from power_loop.compaction.notes import CUT, HEADING, LEFT_OUT, carried, clipped, note_message
from power_loop.compaction.strategies import (
    ClearToolResults,
    KeepFirstAndLast,
    LeastRecentlyUsed,
    Never,
    SlidingWindow,
    UserWords,
)
from power_loop.compaction.summary import Summary, summary_request, without_oldest_results
from power_loop.compaction.window import Folding, Window
from power_loop.compaction.words import STRATEGIES, ladder_of
from power_loop.transcript.measure import CAREFUL, Measure, tokens
from power_loop.transcript.view import View
from tests.compaction.bad import BAD
from tests.compaction.growth import begun, conversation, long_request
from tests.compaction.kit import History, Summariser, run


def seen(history: History) -> Sequence[int]:
    return [entry.seq for entry in history.view]


def size(history: History) -> int:
    return sum(tokens(entry.wire) for entry in history.view)


@pytest.mark.acceptance("E3")
@pytest.mark.parametrize(
    "strategy",
    [
        Summary(),
        ClearToolResults(over=50),
        KeepFirstAndLast(),
        KeepFirstAndLast(first=5),
        LeastRecentlyUsed(),
        UserWords(),
    ],
    ids=repr,
)
def test_one_request_with_two_hundred_rounds_folds_below_the_target(strategy: Strategy) -> None:
    history = long_request(200)
    target = size(history) // (2 if isinstance(strategy, ClearToolResults) else 20)
    tried = history.climb([strategy], target, summarise=Summariser(400))
    assert tried.compaction is not None
    assert size(history) == tried.compaction.after_tokens <= target
    assert {1, 2} <= set(seen(history)), "the system prompt and the request"
    assert set(range(401, 403)) <= set(seen(history)), "the newest round"


def test_a_sliding_window_leaves_one_long_turn_whole() -> None:
    history = long_request(200)
    assert history.climb([SlidingWindow(turns=1)], 100).compaction is None


@dataclass(frozen=True, slots=True)
class Counting(Measure):
    """Counts how often a text is measured."""

    @property
    def measured(self) -> list[str]:
        return MEASURED

    def tokens(self, wire: str) -> int:
        MEASURED.append(wire)
        return Measure.tokens(self, wire)


MEASURED: list[str] = []


@pytest.mark.parametrize("name", STRATEGIES)
def test_five_thousand_messages_are_measured_a_few_times_each(name: str) -> None:
    """What a fold costs grows with the window and not with its square."""
    history = long_request(2500, size=40)
    MEASURED.clear()
    window = history.window(500, measure=Counting(), summarise=Summariser())
    run(climb([STRATEGIES[name]], window))
    assert len(MEASURED) <= 2.5 * len(history.view)


def test_the_first_units_stay_however_often_it_folds() -> None:
    history = conversation([1] * 6)
    for number in range(5):
        history.add("user", f"more {number}")
        history.add("assistant", "a" * 400)
        assert history.climb([KeepFirstAndLast(first=2)], size(history) // 2).compaction is not None
        first = [entry for entry in history.view if not entry.note][:4]
        assert [entry.seq for entry in first] == [1, 2, 3, 4], "the prompt, the first input, the first round"
    assert [entry.note for entry in history.view][:5] == [False] * 4 + [True]


def test_what_was_used_last_stays() -> None:
    history = begun(prompted=True)
    for path in ("old.txt", "b.txt", "c.txt", "d.txt"):
        history.round("r" * 300, arguments=[{"path": path}])
    history.round("ok", arguments=[{"edit": {"path": "old.txt"}, "how": ["x"]}])
    done = history.climb([LeastRecentlyUsed()], size(history) - 80).compaction
    assert done is not None
    assert done.folded == (5, 6)


def test_words_beyond_the_budget_go_with_the_rest() -> None:
    history = conversation([1, 1, 1, 1])
    words = [entry.seq for entry in history.view if entry.role == "user"]
    budget = tokens(history.entries[words[-1]].wire) * 2
    done = history.climb([UserWords(tokens=budget)], 10).compaction
    assert done is not None
    assert [seq for seq in words if seq in seen(history)] == words[2:]


@pytest.mark.parametrize("keep", [2, 3, 4, 100])
def test_where_there_are_fewer_results_than_stay_all_stay(keep: int) -> None:
    history = begun(prompted=True)
    history.round("r" * 900, "s" * 900)
    history.add("assistant", "done")
    history.add("user", "next")
    assert history.climb([ClearToolResults(keep=keep)], 10).compaction is None


def test_a_result_is_not_cleared_for_a_text_that_is_longer() -> None:
    history = begun(prompted=True)
    history.round("tiny", "s" * 900)
    history.add("assistant", "done")
    done = history.climb([ClearToolResults(keep=0, over=0)], 10).compaction
    assert done is not None
    assert len(done.folded) == 1


def test_what_the_model_has_not_seen_yet_stays_even_behind_input_that_steers() -> None:
    """A round, then inputs: the model has answered neither."""
    for strategy in (
        KeepFirstAndLast(first=0),
        LeastRecentlyUsed(),
        UserWords(tokens=0),
        Summary(),
        ClearToolResults(keep=1),
    ):
        history = conversation([2, 2])
        history.add("user", "look")
        asked = history.round("x" * 900, "y" * 900, "z" * 900)
        history.add("user", "and mind the gap")
        history.add("user", "really")
        history.climb([strategy], 10, summarise=Summariser())
        assert set(range(asked - 1, asked + 6)) <= set(seen(history)), strategy


def test_the_last_word_of_a_turn_may_go_once_there_is_another_input() -> None:
    history = conversation([1, 1])
    last = seen(history)[-1]
    request = history.add("user", "next")
    assert history.climb([KeepFirstAndLast(first=0)], 10).compaction is not None
    assert last not in seen(history)
    assert request in seen(history)


def test_an_answer_with_open_calls_stays_with_the_results_it_has() -> None:
    history = conversation([1])
    asked = history.add("assistant", "", calls=[{}, {}])
    history.add("tool", "r" * 900, of=f"{asked}.0")
    history.add("assistant", "later")
    for strategy in (KeepFirstAndLast(first=0), ClearToolResults(keep=0, over=0)):
        history.climb([strategy], 1, open={asked})
        assert {asked, asked + 1} <= set(seen(history))


@pytest.mark.parametrize(
    "text", ["word " * 400, "語" * 2000, "é" * 2000, "a" * 5000], ids=["words", "wide", "é", "dense"]
)
def test_a_note_that_is_carried_on_is_cut_once_and_to_its_share(text: str) -> None:
    history, target = conversation([1] * 6), 2400

    async def long(*_: Any) -> str:
        return f"it began {text} and ended"

    for number in range(20):
        history.add("user", f"{number} {'u' * 800}")
    tight = history.window(target, summarise=long, tokens=50_000)
    done = Compaction(
        strategy="by hand",
        folded=tuple(entry.seq for unit in tight.foldable for entry in unit.entries),
        steads=(Stead(2, "user", note_message(run(long()))),),
        before_tokens=50_000,
        after_tokens=0,
    )
    history.take(done)
    said = []
    for _ in range(4):
        history.add("user", "u" * 100)
        history.add("assistant", "a" * 3000)
        history.add("assistant", "b" * 3000)
        assert history.climb([KeepFirstAndLast(first=0)], target).compaction is not None
        note = history.summary_note
        assert note is not None
        said.append(note)
    assert len(set(said)) == 1, "once"
    assert tokens(said[0]) <= target // 8 + tokens(note_message(LEFT_OUT))
    assert said[0].startswith(f"{HEADING}it began ")
    assert said[0].endswith(f"{' and ended'[-7:]}\n\n{LEFT_OUT}")


def test_what_was_cut_is_not_cut_again() -> None:
    text = "".join(f"{number} " for number in range(1000))
    once = clipped(text, 100, tokens)
    assert tokens(once) <= 110
    assert once.startswith("0 1 2")
    assert once.endswith("998 999 ")
    assert once.count(CUT) == 1
    assert clipped(once, 100, tokens) == once
    assert clipped(text, 10_000, tokens) == text
    assert clipped("short text", 0, tokens) == "short text", "it is no shorter cut"


def test_the_ladder_stops_where_the_target_is_reached_and_else_takes_the_best() -> None:
    history = conversation([2] * 8)
    asked: list[str] = []

    @dataclass(frozen=True)
    class Watched:
        how: Strategy

        @property
        def name(self) -> str:
            return self.how.name

        async def fold(self, window: Window) -> Folding | None:
            asked.append(self.name)
            return await self.how.fold(window)

    def tried(target: int, *strategies: Strategy) -> str | None:
        asked.clear()
        done = run(
            climb([Watched(one) for one in strategies], history.window(target, summarise=Summariser()))
        ).compaction
        return None if done is None else done.strategy

    clear, keep = ClearToolResults(over=10), KeepFirstAndLast()
    whole = size(history)
    assert tried(whole - 100, clear, keep, Summary()) == "clear_tool_results"
    assert asked == ["clear_tool_results"], "the dear ones are not asked"
    assert tried(whole // 3, clear, keep, Summary()) == "keep_first_and_last"
    assert asked == ["clear_tool_results", "keep_first_and_last"]
    assert tried(1, clear, Never(), keep) == "keep_first_and_last"
    assert asked == ["clear_tool_results", "none", "keep_first_and_last"]
    assert tried(1, Never()) is None
    assert tried(1) is None


@pytest.mark.parametrize("name", BAD)
def test_a_bad_strategy_is_named_with_its_reason(name: str) -> None:
    history = conversation([2, 2, 3])
    history.climb([SlidingWindow(turns=2)], 1)
    history.climb([ClearToolResults(keep=2, over=0)], 1)
    history.add("user", "next")
    assert any(entry.note for entry in history.view)
    before = history.view.texts()
    tried = history.climb([BAD[name], KeepFirstAndLast()], 1)
    assert history.view.texts() != before, "the next one is asked"
    ((failed, reason),) = tried.failures
    assert failed == name
    assert len(reason) > 5


def test_a_strategy_without_a_name_is_refused_too() -> None:
    class Nameless:
        @property
        def name(self) -> str:
            raise KeyError("name")

        async def fold(self, window: Window) -> Folding | None:
            return None

    assert conversation([1, 1]).climb([Nameless()], 1).failures == [("a strategy", "it raised KeyError: 'name'")]


def test_a_name_is_stored_as_unicode() -> None:
    class Named:
        name = "a\ud800b"

        async def fold(self, window: Window) -> Folding | None:
            return await KeepFirstAndLast().fold(window)

    done = conversation([1, 1, 1]).climb([Named()], 1).compaction
    assert done is not None
    assert done.strategy == "a\ufffdb"


@pytest.mark.parametrize(
    "grown",
    [
        History(),
        begun(prompted=True),
        begun(prompted=False),
        conversation([0], size=10),
    ],
    ids=["nothing", "a prompt and a request", "a request", "a short turn"],
)
@pytest.mark.parametrize("name", STRATEGIES)
def test_where_nothing_can_be_gained_nothing_is_folded(name: str, grown: History) -> None:
    tried = grown.climb([STRATEGIES[name]], 0, summarise=Summariser())
    assert tried.compaction is None


def test_a_note_alone_is_not_folded_into_a_note() -> None:
    history = conversation([1, 1, 1])
    assert history.climb([KeepFirstAndLast(first=0)], 1).compaction is not None
    history.add("user", "next")
    assert [entry.note for entry in history.view][:2] == [False, True]
    history = History(view=View([entry for entry in history.view if entry.note or entry.role != "assistant"]))
    for strategy in STRATEGIES.values():
        assert history.climb([strategy], 1, summarise=Summariser()).compaction is None


def test_what_a_strategy_without_a_model_says() -> None:
    history = conversation([1] * 4)
    window = history.window(1)
    assert carried(window) == LEFT_OUT
    history.climb([SlidingWindow(turns=3)], 1)
    assert history.summary_note == HEADING + LEFT_OUT
    history.climb([SlidingWindow(turns=2)], 1)
    assert history.summary_note == HEADING + LEFT_OUT, "once"


def test_strategies_have_words() -> None:
    assert [strategy.name for strategy in ladder_of(list(STRATEGIES))] == list(STRATEGIES)
    mine = KeepFirstAndLast(first=3)
    assert ladder_of(mine) == (mine,)
    assert ladder_of([mine, "none"]) == (mine, Never())
    for wrong in ("sumary", 7, KeepFirstAndLast, None, [None], object()):
        with pytest.raises(ValueError, match="no strategy"):
            ladder_of(wrong)


@pytest.mark.parametrize(
    ("strategy", "wrong"),
    [
        (KeepFirstAndLast, {"first": -1}),
        (SlidingWindow, {"turns": 0}),
        (UserWords, {"tokens": -1}),
        (ClearToolResults, {"keep": True}),
        (ClearToolResults, {"over": "x"}),
    ],
)
def test_a_strategy_that_cannot_work_is_not_made(strategy: Any, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{strategy.__name__}\({name}="):
        strategy(**wrong)


def test_sizes_follow_the_providers_count_down_but_not_up() -> None:
    history = conversation([1] * 4)
    whole = history.window(0).tokens
    assert whole == size(history)
    half = history.window(0, tokens=whole // 2)
    assert half.tokens == whole // 2
    assert sum(unit.tokens for unit in half.units) == pytest.approx(whole // 2, rel=0.05)
    more = history.window(0, tokens=whole * 2)
    assert sum(unit.tokens for unit in more.units) == whole, "the rest are tools and the like, which no folding frees"


def test_the_texts_of_folded_rounds_are_whole_messages() -> None:
    history = conversation([3] * 3)
    history.climb([ClearToolResults(keep=1, over=10)], 1)
    for text in history.view.texts():
        assert parse(text)
    assert CAREFUL.tokens(history.view.texts()[0]) > 0


def test_what_a_summary_is_made_of_where_not_all_fits_and_the_earlier_note_goes_last() -> None:
    history = conversation([1, 1, 1])
    history.climb([SlidingWindow(turns=2)], 1)
    history.round("r" * 500)
    entries = [entry for entry in history.view if entry.role != "system"]
    order: list[int] = []
    for characters in range(10_000, -1, -1):
        left = {entry.seq for entry in without_oldest_results(entries, characters=characters)}
        order += [entry.seq for entry in entries if entry.seq not in left and entry.seq not in order]
    (note,) = (entry.seq for entry in entries if entry.note)
    rounds = [e.seq for e in entries if e.role == "tool" or '"tool_calls":[' in e.wire]
    assert order == [*rounds, *(e.seq for e in entries if e.seq not in (*rounds, note))]
    assert left == {note}, "the last is cut, and does not go"
    request = summary_request(
        without_oldest_results(entries, characters=0), model=None, max_chars=50, max_tokens=64, extra={}
    )
    assert "characters left out" in request.messages[-1]
