"""Repeated calls and stagnation: what is the same however it is written, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.service import Json
from power_loop.rules import CONTINUE, Abort, Nudge, Pause, RepeatedCall, Stagnation, Verdict
from tests.rules.kit import call, seen, watched

SAME = ['{"a": 1, "b": [1, "x"]}', '{ "b":[1.0,"\\u0078"], "a":1 }', '{"b":[1,"x"],"a":1.0}']


def kinds(verdicts: list[Verdict]) -> list[type]:
    return [type(verdict) for verdict in verdicts]


SILENT = type(CONTINUE)


@pytest.mark.acceptance("G4")
def test_key_order_and_whitespace_do_not_matter() -> None:
    verdicts = watched(RepeatedCall(), *(seen(call("f", arguments)) for arguments in SAME))
    assert kinds(verdicts) == [SILENT, SILENT, Nudge]
    assert isinstance(verdicts[2], Nudge)
    assert "f 3 times in a row with the same arguments" in verdicts[2].text


@pytest.mark.acceptance("G4")
def test_five_different_files_are_not_a_repeat() -> None:
    calls = [call("write_file", json.dumps({"path": f"{number}.txt", "text": "same"})) for number in range(5)]
    for watcher in (RepeatedCall(limit=2), RepeatedCall(limit=2, within=5), Stagnation(ignore=("write_*",), rounds=1)):
        assert set(watched(watcher, *map(seen, calls))) == {CONTINUE}
        assert watched(watcher, seen(*calls)) == [CONTINUE]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f {}", "g {}"),
        ('f {"a": 1}', 'f {"a": "1"}'),
        ('f {"a": 1}', 'f {"a": true}'),
        ('f {"a": null}', "f {}"),
        ('f {"a": [1, 2]}', 'f {"a": [2, 1]}'),
        ('f {"a": 1', 'f {"a": 2'),
        ("f []", "f {}"),
        ('f {"a": 0.1}', 'f {"a": 0.2}'),
    ],
)
def test_other_calls_are_other_calls(one: str, other: str) -> None:
    rounds = [seen(call(*text.split(" ", 1))) for text in (one, other)]
    assert set(watched(RepeatedCall(limit=2), *rounds)) == {CONTINUE}
    assert kinds(watched(RepeatedCall(limit=2), rounds[0], rounds[0])) == [SILENT, Nudge]


def test_in_a_row_another_call_between_begins_anew_and_within_it_does_not() -> None:
    rounds = [seen(call(name)) for name in "abababa"]
    assert set(watched(RepeatedCall(limit=2), *rounds)) == {CONTINUE}
    assert kinds(watched(RepeatedCall(limit=3, within=5), *rounds)) == [SILENT] * 4 + [Nudge] * 3
    assert set(watched(RepeatedCall(limit=3, within=4), *rounds)) == {CONTINUE}


def test_the_calls_of_one_round_count_each() -> None:
    same = [call("f")] * 3
    assert kinds(watched(RepeatedCall(), seen(*same))) == [Nudge]
    assert kinds(watched(RepeatedCall(), seen(*same, call("g")), seen(call("g")))) == [Nudge, SILENT]


@pytest.mark.acceptance("G4")
@pytest.mark.parametrize("within", [None, 8])
def test_it_nudges_first_and_aborts_at_last(within: int | None) -> None:
    watcher = RepeatedCall(limit=2, abort_at=4, within=within, say="Stop that.")
    verdicts = watched(watcher, *[seen(call("f"))] * 5)
    assert kinds(verdicts) == [SILENT, Nudge, Nudge, Abort, Abort]
    assert verdicts[1] == Nudge("Stop that.")
    assert isinstance(verdicts[3], Abort)
    assert verdicts[3].reason.startswith("f was called 4 times")


@pytest.mark.parametrize(("word", "kind"), [("nudge", Nudge), ("pause", Pause), ("abort", Abort)])
def test_then_says_what_it_comes_to(word: Any, kind: type) -> None:
    assert kinds(watched(RepeatedCall(limit=2, then=word), *[seen(call("f"))] * 2)) == [SILENT, kind]
    assert kinds(watched(Stagnation(rounds=1, then=word), *[seen(call("f"))] * 2)) == [SILENT, kind]


def test_what_may_be_repeated_is_not_counted_and_interrupts_nothing() -> None:
    watcher = RepeatedCall(limit=2, ignore=("wait_*",))
    assert set(watched(watcher, *[seen(call("wait_for_build"))] * 4)) == {CONTINUE}
    assert kinds(watched(watcher, seen(call("f")), seen(call("wait_a")), seen(), seen(call("f")))) == [SILENT] * 3 + [
        Nudge
    ]


def test_a_new_input_begins_anew_and_a_resume_goes_on() -> None:
    for watcher in (RepeatedCall(limit=2), RepeatedCall(limit=2, within=9), Stagnation(rounds=1)):
        first, again = seen(call("f"), turn=1), seen(call("f"), turn=2)
        assert kinds(watched(watcher, first, again)) == [SILENT, SILENT]
        assert kinds(watched(watcher, first, first)) == [SILENT, Nudge]


JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from([RepeatedCall(), RepeatedCall(within=5), Stagnation()]))
def test_a_memory_of_other_code_is_no_memory(memory: Json, watcher: RepeatedCall | Stagnation) -> None:
    for one in (memory, {"turn": 1, "calls": memory, "results": memory, "times": "many"}):
        said = watcher.watch(seen(call("f")), one)
        assert not isinstance(said, Verdict)
        assert said.verdict == CONTINUE


@pytest.mark.acceptance("G4")
def test_memories_are_bounded() -> None:
    rounds = [seen(*(call("f", f'{{"n": {n}}}', f"{n}") for n in range(of, of + 500))) for of in range(0, 5000, 500)]
    assert set(watched(RepeatedCall(within=1000), *rounds)) == {CONTINUE}
    assert set(watched(Stagnation(rounds=1), *rounds)) == {CONTINUE}


@pytest.mark.acceptance("G4")
def test_rounds_that_bring_nothing_new_are_stagnation() -> None:
    def result(text: str, state: str = "succeeded") -> Any:
        return seen(call("f", f'{{"n": "{text}"}}', text, state))

    new, old, error = result("new"), result("old"), result("no such file", "failed")
    verdicts = watched(Stagnation(rounds=2, abort_at=4), old, old, error, seen(text="hm"), old, error, new, old, old)
    assert kinds(verdicts) == [SILENT, SILENT, Nudge, SILENT, Nudge, Abort, SILENT, SILENT, Nudge]
    assert verdicts[2] == Nudge(
        "There was nothing new in the last 2 rounds: each call failed or gave a result seen before. Try another way, "
        "or say what is missing."
    )


def test_one_new_result_in_a_round_is_enough() -> None:
    watcher = Stagnation(rounds=1)
    first = seen(call("f", "{}", "a"))
    assert watched(watcher, first, seen(call("f", "{}", "a"), call("f", "{}", "b"))) == [CONTINUE, CONTINUE]
    assert watched(watcher, first, seen(call("g", "{}", "a"))) == [CONTINUE, CONTINUE], "of another tool"
    assert kinds(watched(watcher, first, seen(call("f", "{}", "a"), call("f", "{}", "x", "timed_out")))) == [
        SILENT,
        Nudge,
    ]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (RepeatedCall, {"limit": 1}),
        (RepeatedCall, {"limit": True}),
        (RepeatedCall, {"limit": 2.0}),
        (RepeatedCall, {"within": 2}),
        (RepeatedCall, {"within": 1001}),
        (RepeatedCall, {"then": "stop"}),
        (RepeatedCall, {"then": []}),
        (RepeatedCall, {"abort_at": 3}),
        (RepeatedCall, {"within": 5, "abort_at": 6}),
        (RepeatedCall, {"abort_at": 5, "then": "abort"}),
        (RepeatedCall, {"ignore": "wait"}),
        (RepeatedCall, {"ignore": [""]}),
        (RepeatedCall, {"say": " "}),
        (RepeatedCall, {"name": None}),
        (Stagnation, {"rounds": 0}),
        (Stagnation, {"abort_at": 5}),
        (Stagnation, {"abort_at": 9, "then": "abort"}),
        (Stagnation, {"ignore": 7}),
        (Stagnation, {"name": ""}),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{make.__name__}\({list(settings)[-1] if 'then' not in settings else ''}"):
        make(**settings)
