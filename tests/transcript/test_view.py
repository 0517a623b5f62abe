"""The model's view of a session: its order, its units, its folds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.transcript.measure import tokens
from power_loop.transcript.view import Entry, View


def entry(seq: int, role: str = "user", **more: object) -> Entry:
    return Entry(seq=seq, role=role, **{"place": seq, "wire": f"{role} {seq}", **more})  # type: ignore[arg-type]


@pytest.mark.acceptance("C3")
@given(st.permutations([3, 4, 5, 6]))
def test_results_stand_in_call_order_however_they_come(order: list[int]) -> None:
    view = View([entry(1), entry(2, "assistant")])
    for seq in order:
        view.add(entry(seq, "tool"))
    assert [one.seq for one in view] == [1, 2, 3, 4, 5, 6]
    assert view.texts() == ("user 1", "assistant 2", "tool 3", "tool 4", "tool 5", "tool 6")


def test_a_view_of_stored_messages_is_in_their_order() -> None:
    view = View([entry(9, place=2, note=True), entry(1), entry(5)])
    assert [one.seq for one in view] == [1, 9, 5]
    assert len(view) == 3


def test_units_are_an_answer_with_its_results_or_one_message() -> None:
    view = View([entry(1), entry(2, "assistant"), entry(3, "tool"), entry(4, "tool"), entry(5, "assistant")])
    assert [[one.seq for one in unit] for unit in view.units()] == [[1], [2, 3, 4], [5]]


def test_a_note_stands_where_the_folded_messages_began() -> None:
    view = View([entry(seq, "system" if seq == 1 else "user") for seq in range(1, 7)])
    view.fold([2, 3, 5], [entry(7, place=2, note=True)])
    assert [one.seq for one in view] == [1, 7, 4, 6]
    view.add(entry(8))
    assert [one.seq for one in view] == [1, 7, 4, 6, 8]
    assert view.unanswered() == {4, 6, 8}


def test_the_model_works_on_what_users_said_since_its_last_word() -> None:
    called = Entry(place=4, seq=4, role="assistant", wire='{"role":"assistant","tool_calls":[]}')
    assert View([]).unanswered() == set()
    assert View([entry(1, "system"), entry(2, note=True), entry(3, "assistant")]).unanswered() == set()
    assert View([entry(1), entry(2, "assistant"), entry(3), called, entry(5, "tool"), entry(6)]).unanswered() == {3, 6}
    assert View([entry(1), entry(2), entry(3, "assistant"), entry(9, place=4, note=True)]).unanswered() == set()


def test_where_the_last_answer_is_known_nothing_else_is_taken_for_one() -> None:
    called = Entry(place=4, seq=4, role="assistant", wire='{"role":"assistant","tool_calls":[]}')
    ended_by_a_call = View([entry(3), called, entry(5, "tool"), entry(6)])
    assert ended_by_a_call.unanswered(4) == {6}
    went_on = View([entry(1), entry(2, "assistant"), entry(3), entry(4, "assistant"), entry(5)])
    assert went_on.unanswered(0) == {1, 3, 5}
    assert went_on.unanswered(2) == {3, 5}
    folded = View([entry(9, place=2, note=True), entry(5), entry(6, "assistant"), entry(7)])
    assert folded.unanswered(6) == {7}
    assert folded.unanswered(1) == {5, 7}


def test_what_is_shown_in_short_is_known_until_it_is_folded() -> None:
    short = Entry(place=3, seq=3, role="tool", wire='"[...; recall_output(handle=\\"1.3\\") reads it]"')
    view = View([entry(1), entry(2, "assistant")])
    assert not view.shortened
    view.add(short)
    assert view.shortened
    assert View([entry(1), entry(2, "assistant"), short]).shortened
    view.fold([2, 3], [entry(4, place=2, note=True)])
    assert not view.shortened


def test_tokens_after_a_message_are_those_of_what_follows() -> None:
    view = View([entry(1), entry(2, "assistant"), entry(3)])
    assert view.tokens_after(3) == 0
    assert view.tokens_after(2) == tokens("user 3")
    assert view.tokens_after(0) == sum(tokens(text) for text in view.texts())
