"""The model's view of a session: its order, its units, its folds."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.messages import AssistantMessage, SystemMessage, ToolCall, ToolMessage, UserMessage, parse, wire
from power_loop.compaction.plan import plan
from power_loop.transcript.measure import tokens
from power_loop.transcript.rules import violations
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
    view.fold([2, 3, 5], entry(7, place=2, note=True))
    assert [one.seq for one in view] == [1, 7, 4, 6]
    view.add(entry(8))
    assert [one.seq for one in view] == [1, 7, 4, 6, 8]
    assert view.last_input() == 8


def test_the_last_input_is_the_users_and_no_note() -> None:
    assert View([]).last_input() == 0
    assert View([entry(1, "system"), entry(2, note=True), entry(3, "assistant")]).last_input() == 0
    assert View([entry(1), entry(2), entry(3, "assistant"), entry(9, place=4, note=True)]).last_input() == 2


def test_tokens_after_a_message_are_those_of_what_follows() -> None:
    view = View([entry(1), entry(2, "assistant"), entry(3)])
    assert view.tokens_after(3) == 0
    assert view.tokens_after(2) == tokens("user 3")
    assert view.tokens_after(0) == sum(tokens(text) for text in view.texts())


@dataclass
class Session:
    """Grows a history as a session does, and stores what a fresh process would read again."""

    entries: dict[int, Entry]
    view: View
    next_seq: int = 1

    def add(self, role: str, text: str, calls: int = 0, tool_call_id: str = "") -> None:
        seq = self.next_seq
        self.next_seq += 1
        message = {
            "system": lambda: SystemMessage(content=text),
            "user": lambda: UserMessage(content=text),
            "tool": lambda: ToolMessage(content=text, tool_call_id=tool_call_id),
            "assistant": lambda: AssistantMessage(
                content=text,
                tool_calls=tuple(ToolCall(id=f"{seq}.{n}", name="t", arguments="{}") for n in range(calls)),
            ),
        }[role]()
        new = Entry(place=seq, seq=seq, role=role, wire=wire(message), pinned=role == "system")
        self.entries[seq] = new
        self.view.add(new)

    def fold(self, request: int, keep: int) -> bool:
        planned = plan(self.view, request=request, keep_tokens=keep)
        if planned is None:
            return False
        note = Entry(
            place=planned.place, seq=self.next_seq, role="user", wire=wire(UserMessage(content="n")), note=True
        )
        self.next_seq += 1
        for folded in planned.folded:
            del self.entries[folded.seq]
        self.entries[note.seq] = note
        self.view.fold((folded.seq for folded in planned.folded), note)
        return True


STEPS = st.lists(st.tuples(st.sampled_from(["user", "answer", "calls", "fold"]), st.integers(1, 60)), max_size=25)


@given(STEPS, st.randoms(use_true_random=False), st.booleans())
def test_every_fold_keeps_the_rules_and_the_reload_is_what_the_model_saw(
    steps: list[tuple[str, int]], random: Random, prompted: bool
) -> None:
    session = Session({}, View())
    if prompted:
        session.add("system", "be good")
    session.add("user", "begin")
    request = session.next_seq - 1
    for what, size in steps:
        match what:
            case "user":
                session.add("user", "u" * size)
                request = session.next_seq - 1
            case "answer":
                session.add("assistant", "a" * size)
            case "calls":
                asker, count = session.next_seq, 1 + size % 3
                session.add("assistant", "", calls=count)
                for number in range(count):
                    session.add("tool", "r" * size * 5, tool_call_id=f"{asker}.{number}")
            case "fold":
                before = len(session.view)
                if session.fold(request, keep=size * 3):
                    assert len(session.view) < before
        seen = list(session.view)
        assert violations([parse(one.wire) for one in seen]) == []
        assert request in {one.seq for one in seen}, "the current request is never folded"
        assert not prompted or seen[0].role == "system"
        assert sum(one.note for one in seen) <= 1, "an older note goes into the newer one"
        stored = list(session.entries.values())
        random.shuffle(stored)
        assert View(stored).texts() == session.view.texts()


def test_one_request_with_two_hundred_rounds_still_folds() -> None:
    session = Session({}, View())
    session.add("system", "be good")
    session.add("user", "do it all")
    for _ in range(200):
        asker = session.next_seq
        session.add("assistant", "")
        session.add("tool", "r" * 300, tool_call_id=f"{asker}.0")
    assert session.fold(request=2, keep=500)
    kept = list(session.view)
    assert [one.seq for one in kept[:3]] == [1, 2, 403]
    assert sum(tokens(one.wire) for one in kept) < 1000


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry(1, "system"), entry(2)],
        [entry(1), entry(2, "assistant")],
        # An old note and one message: a new note would fold nothing worth it.
        [entry(9, place=1, note=True), entry(5), entry(6, "assistant")],
        [entry(1, pinned=True), entry(2, pinned=True), entry(3, "assistant")],
    ],
)
def test_nothing_is_folded_where_that_would_gain_nothing(entries: list[Entry]) -> None:
    assert plan(View(entries), request=0, keep_tokens=0) is None
