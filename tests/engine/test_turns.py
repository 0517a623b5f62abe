"""The states of a turn are a table; whatever is not in it raises and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from power_loop.engine import facts as f
from power_loop.engine.calls import OPEN, SETTLED, CallState
from power_loop.engine.turns import LIVE, NEXT, SessionState, TurnState, after, session_state
from power_loop.errors import StateError
from power_loop.values import CallKey
from tests.engine.kit import FACTS, KEY, MESSAGE, STAMP, call, snapshot

EVERY_MOVE = [(state, fact) for state in TurnState for fact in FACTS]


def test_there_is_an_example_of_every_fact() -> None:
    facts = {kind for kind in vars(f).values() if isinstance(kind, type) and issubclass(kind, f.Fact)} - {f.Fact}
    assert {type(fact) for fact in FACTS} == facts


@pytest.mark.parametrize(("state", "fact"), EVERY_MOVE, ids=lambda it: str(it) if isinstance(it, TurnState) else "")
def test_every_move_of_a_turn_is_in_the_table_or_raises(state: TurnState, fact: f.Fact) -> None:
    legal = NEXT.get((state, type(fact)))
    # The calls are such that only the turn's own table can refuse.
    calls = () if isinstance(fact, f.RoundClosed) else (call(),)
    before = snapshot(state, *calls)
    kept = replace(before)
    if legal is None:
        with pytest.raises(StateError, match=f"{state} has no move for {type(fact).__name__}") as caught:
            before.after(fact)
        assert caught.value.code == "state.illegal"
    else:
        assert before.after(fact).state is legal is after(state, fact)
    assert before == kept


def test_only_live_turns_move_but_for_being_given_up_and_every_state_is_reached() -> None:
    assert {state for state, fact in NEXT if fact is not f.CallsAborted} == set(LIVE)
    assert {state for state, fact in NEXT if fact is f.CallsAborted} == set(TurnState) - {TurnState.DONE}
    assert {*NEXT.values(), TurnState.ASKING} == set(TurnState)


@pytest.mark.parametrize("state", list(TurnState))
def test_live_means_that_a_process_owns_it(state: TurnState) -> None:
    assert state.live is (state in (TurnState.ASKING, TurnState.ACTING))


def settling(key: CallKey, state: CallState) -> f.CallSettled:
    return f.CallSettled(**STAMP, key=key, state=state, settled_by="run", message=MESSAGE)  # type: ignore[arg-type]


def test_a_call_is_settled_once() -> None:
    started = snapshot(TurnState.ACTING, call(state=CallState.STARTED, attempt=1))
    settled = started.after(settling(KEY, CallState.SUCCEEDED))
    assert settled.calls == ()
    for again in (settling(KEY, CallState.SUCCEEDED), f.CallsStarted(**STAMP, calls=(KEY,))):
        with pytest.raises(StateError, match="call 0 of message 3 is not open"):
            settled.after(again)


def test_a_call_that_never_started_cannot_have_succeeded() -> None:
    with pytest.raises(StateError, match="requested cannot become succeeded"):
        snapshot(TurnState.ACTING, call()).after(settling(KEY, CallState.SUCCEEDED))


def test_a_round_with_open_calls_stays_open() -> None:
    with pytest.raises(StateError, match=r"1 open call\(s\)"):
        snapshot(TurnState.ACTING, call()).after(f.RoundClosed(**STAMP, round=1))


def test_starting_counts_the_attempt_and_ends_the_doubt() -> None:
    doubtful = call(state=CallState.STARTED, attempt=1, in_doubt=True)
    other = call(CallKey(3, 1))
    now = snapshot(TurnState.ACTING, doubtful, other).after(f.CallsStarted(**STAMP, calls=(KEY,)))
    assert now.calls == (replace(doubtful, attempt=2, in_doubt=False), other)


def test_rounds_count_answers_and_not_the_wrap_up() -> None:
    by_type = {type(fact): fact for fact in FACTS}
    asking = snapshot(TurnState.ASKING, rounds=4)
    last_word = by_type[f.AnswerReceived]
    assert asking.after(by_type[f.CallsRequested]).rounds == 5
    assert asking.after(last_word).rounds == 5
    assert isinstance(last_word, f.AnswerReceived)
    assert asking.after(replace(last_word, status="hit_round_limit")).rounds == 4
    assert asking.after(by_type[f.AnswerDropped]).rounds == 4


def test_a_compaction_sets_the_size_and_forbids_another() -> None:
    fact = next(fact for fact in FACTS if isinstance(fact, f.HistoryCompacted))
    now = snapshot(TurnState.ASKING, context_tokens=9).after(fact)
    assert (now.context_tokens, now.may_fold) == (4, False)


def test_call_states_are_open_or_settled() -> None:
    assert set(CallState) == OPEN | SETTLED
    assert not OPEN & SETTLED
    assert [state.open for state in CallState] == [state in OPEN for state in CallState]


@pytest.mark.acceptance("B4")
@pytest.mark.parametrize(
    ("state", "driven", "open_calls", "shown"),
    [
        (None, False, False, "idle"),
        ("done", False, False, "idle"),
        ("asking", True, False, "running"),
        ("acting", True, True, "running"),
        ("asking", False, False, "interrupted_before_model"),
        ("acting", False, True, "interrupted_in_tools"),
        # It died between the last result and the round's end: nothing is open.
        ("acting", False, False, "interrupted_before_model"),
        ("interrupted", False, False, "interrupted_before_model"),
        ("interrupted", False, True, "interrupted_in_tools"),
        ("cancelled", False, True, "stopped"),
        ("cancelled", False, False, "stopped"),
        ("failed", False, False, "failed"),
        ("failed", False, True, "interrupted_in_tools"),
        # Everybody it waited for has spoken: the calls are next.
        ("waiting", False, True, "interrupted_in_tools"),
        # All that it waited for is resolved: the model is next.
        ("waiting", False, False, "interrupted_before_model"),
    ],
)
def test_session_states_are_told_apart(state: str | None, driven: bool, open_calls: bool, shown: str) -> None:
    turn = None if state is None else TurnState(state)
    assert session_state(turn, driven=driven, open_calls=open_calls) is SessionState(shown)


@pytest.mark.acceptance("B4")
@pytest.mark.parametrize("waits", ["awaiting_approval", "waiting_for_input"])
def test_a_session_says_for_whom_it_waits(waits: str) -> None:
    def shown(state: TurnState, *, driven: bool) -> SessionState:
        return session_state(state, driven=driven, open_calls=True, waits=waits)

    assert shown(TurnState.WAITING, driven=False) is SessionState(waits)
    assert shown(TurnState.INTERRUPTED, driven=False) is SessionState(waits)
    assert shown(TurnState.ACTING, driven=True) is SessionState.RUNNING
    assert shown(TurnState.CANCELLED, driven=False) is SessionState.STOPPED
