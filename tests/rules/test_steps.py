"""Steps: blocked beats allowed, a move counts from the next call on, guidance is given so many times a turn."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.json_text import read_json
from llm_client.service import Json
from power_loop.rules import Move, Step, Steps, StepSeen, StepState, called
from power_loop.values import compact_json
from tests.rules.kit import call

TOOLS = ("read_file", "write_plan", "write_file", "run_tests", "complete")


def plan(**settings: Any) -> Steps:
    return Steps(
        [
            Step("plan", allow=("read_*", "write_plan"), guidance="Write the plan first."),
            Step("act", block=("write_plan", "complete")),
            Step("report", allow=("read_*", "complete"), final=True),
        ],
        moves=[
            Move("plan", "act", called("write_plan")),
            Move("act", "report", called("run_tests", times=2)),
            Move("act", "plan", lambda seen: "no plan" in seen.call.result),
        ],
        **settings,
    )


def never(seen: StepSeen) -> bool:
    return False


def through_json(steps: Steps, state: StepState) -> StepState:
    again = steps.read(read_json(compact_json(state.to_json())))
    assert again == state
    return again


@pytest.mark.acceptance("G6")
def test_a_refusal_names_the_step_and_what_is_allowed() -> None:
    steps = plan()
    state = steps.begin()
    assert steps.refusal(state, "write_plan", TOOLS) is None
    assert (
        steps.refusal(state, "write_file", TOOLS)
        == "write_file is not allowed in the step 'plan'. Allowed here: read_file, write_plan."
    )
    assert steps.refusal(state, "write_file", ()) == (
        "write_file is not allowed in the step 'plan'. No tool is allowed here."
    )
    assert steps.offered(state, TOOLS) == ("read_file", "write_plan")


names = st.text("abc_", min_size=1, max_size=4)
shapes = st.lists(st.text("abc_*?", min_size=1, max_size=4), max_size=3).map(tuple)


@pytest.mark.acceptance("G6")
@given(shapes, shapes, st.lists(names, max_size=6))
def test_blocked_beats_allowed(allow: tuple[str, ...], block: tuple[str, ...], tools: list[str]) -> None:
    steps = Steps([Step("only", allow=allow, block=block, final=True)])
    state = steps.begin()
    offered = steps.offered(state, tools)
    for tool in tools:
        blocked = any(fnmatchcase(tool, pattern) for pattern in block)
        allowed = any(fnmatchcase(tool, pattern) for pattern in allow)
        assert (steps.refusal(state, tool, tools) is None) is (allowed and not blocked)
        assert (tool in offered) is (allowed and not blocked)


@pytest.mark.acceptance("G6")
def test_a_move_counts_from_the_next_call_on() -> None:
    steps = plan()
    state = steps.begin()
    walked = []
    for name, result, outcome in [
        ("read_file", "", "succeeded"),
        ("write_plan", "disk full", "failed"),
        ("write_plan", "", "succeeded"),
        ("run_tests", "", "succeeded"),
        ("run_tests", "", "timed_out"),
        ("write_file", "there is no plan for this", "failed"),
        ("write_plan", "", "succeeded"),
        ("run_tests", "", "succeeded"),
        ("run_tests", "", "succeeded"),
        ("read_file", "", "succeeded"),
    ]:
        assert steps.refusal(state, name, TOOLS) is None
        before = state
        state, problems = steps.after(state, call(name, result=result, state=outcome))
        state = through_json(steps, state)
        assert problems == ()
        assert before.step == (walked[-1] if walked else "plan"), "what came before is not changed"
        walked.append(state.step)
    assert walked == ["plan", "plan", "act", "act", "act", "plan", "act", "act", "report", "report"]
    assert state == StepState("report", {"read_file": 1})


def test_counts_are_of_calls_that_succeeded_in_this_step() -> None:
    steps = plan()
    state = StepState("act", {"run_tests": 1})
    assert steps.after(state, call("run_tests", state="failed")).state == state
    assert steps.after(state, call("write_file")).state == StepState("act", {"run_tests": 1, "write_file": 1})
    assert steps.after(state, call("run_tests")).state == StepState("report")
    assert state.succeeded == {"run_tests": 1}


def test_a_condition_is_shown_the_call_and_the_counts_with_it() -> None:
    shown: list[StepSeen] = []

    def when(seen: StepSeen) -> bool:
        shown.append(seen)
        return False

    steps = Steps([Step("a"), Step("b", final=True)], moves=[Move("a", "b", when), Move("a", "b", called("g"))])
    one = call("f", '{"x": 1}', "ok")
    steps.after(StepState("a", {"f": 2}), one)
    assert (shown[0].step, shown[0].call, dict(shown[0].succeeded)) == ("a", one, {"f": 3})
    with pytest.raises(TypeError):
        shown[0].succeeded["g"] = 1  # type: ignore[index]


def test_the_first_move_that_holds_is_made() -> None:
    yes = called("f")
    steps = Steps(
        [Step("a"), Step("b", final=True), Step("c", final=True)],
        moves=[Move("b", "a", yes), Move("a", "c", yes), Move("a", "b", yes)],
    )
    assert steps.after(steps.begin(), call("f")).state.step == "c"


def _raises(seen: StepSeen) -> bool:
    raise LookupError("no such thing")


def _leaves(seen: StepSeen) -> bool:
    raise SystemExit(3)


async def _later() -> bool:
    return True


@pytest.mark.acceptance("G6")
@pytest.mark.parametrize(
    ("when", "said"),
    [
        (_raises, "its condition raised LookupError('no such thing')"),
        (_leaves, "its condition raised SystemExit(3)"),
        (lambda seen: None, "its condition gave None"),
        (lambda seen: 1, "its condition gave 1"),
        (lambda seen: _later(), "its condition gave <coroutine"),
    ],
)
def test_a_condition_that_cannot_say_is_a_problem_and_does_not_hold(when: Any, said: str) -> None:
    steps = Steps(
        [Step("a"), Step("b", final=True)], moves=[Move("a", "b", when), Move("a", "b", called("f", times=2))]
    )
    state, problems = steps.after(steps.begin(), call("f"))
    assert state == StepState("a", {"f": 1})
    assert [problem.name for problem in problems] == ["a -> b"]
    assert problems[0].sentence.startswith(said)
    state, problems = steps.after(state, call("f"))
    assert state == StepState("b")
    assert len(problems) == 1


@pytest.mark.acceptance("G6")
@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_a_premature_stop_is_guided_so_many_times_a_turn(limit: int) -> None:
    steps = plan(guidance_limit=limit)
    state = steps.begin()
    for turn in range(2):
        for number in range(limit):
            guided = steps.premature(state, TOOLS)
            assert guided is not None
            assert guided.text == ("Write the plan first." if state.step == "plan" else guided.text)
            assert guided.state.guided == number + 1
            state = through_json(steps, guided.state)
            if turn == 0 and number == 0:
                state = steps.after(state, call("write_plan")).state
                assert state.step == "act", "moving on earns no further guidance"
        assert steps.premature(state, TOOLS) is None
        state = steps.turn_begins(state)
        assert state.guided == 0
    state = StepState("report")
    assert steps.premature(state, TOOLS) is None, "a turn may end in a final step"


def test_general_guidance_names_the_step_and_its_tools() -> None:
    guided = plan().premature(StepState("act"), TOOLS)
    assert guided is not None
    assert guided.text == (
        "The work is not done: it stands in the step 'act'. Allowed here: read_file, write_file, run_tests."
    )


states = st.builds(
    StepState,
    st.sampled_from(["plan", "act", "report"]),
    st.dictionaries(st.text(min_size=1).filter(lambda text: text.isascii()), st.integers(1, 9)),
    st.integers(0, 9),
)


@given(states)
def test_a_state_is_what_it_was_after_json(state: StepState) -> None:
    through_json(plan(), state)


@pytest.mark.acceptance("G6")
@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (
            {"step": "gone", "succeeded": {}, "guided": 0},
            "the step 'gone', which is not there: there are 'plan', 'act'",
        ),
        (None, "None is not where a session stands"),
        ("plan", "'plan' is not"),
        ({"step": "plan"}, "is not where"),
        ({"step": "plan", "succeeded": {}, "guided": 0, "more": 1}, "is not where"),
        ({"step": "plan", "succeeded": {"f": -1}, "guided": 0}, "is not where"),
        ({"step": "plan", "succeeded": {"f": True}, "guided": 0}, "is not where"),
        ({"step": "plan", "succeeded": {"f": "1"}, "guided": 0}, "is not where"),
        ({"step": "plan", "succeeded": [], "guided": 0}, "is not where"),
        ({"step": "plan", "succeeded": {}, "guided": True}, "is not where"),
        ({"step": "plan", "succeeded": {}, "guided": -1}, "is not where"),
        ({"step": 1, "succeeded": {}, "guided": 0}, "is not where"),
    ],
)
def test_a_stored_state_that_cannot_be_is_an_error_that_names_the_steps(stored: Json, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan().read(stored)


def test_a_state_of_other_steps_is_an_error_wherever_it_is_used() -> None:
    steps, state = plan(), StepState("gone")
    for use in (
        lambda: steps.offered(state, TOOLS),
        lambda: steps.refusal(state, "f", TOOLS),
        lambda: steps.after(state, call("f")),
        lambda: steps.premature(state),
    ):
        with pytest.raises(ValueError, match="which is not there: there are 'plan', 'act', 'report'"):
            use()


END = Step("end", final=True)


@pytest.mark.acceptance("G6")
@pytest.mark.parametrize(
    ("steps", "settings", "said"),
    [
        ([], {}, "at least one Step"),
        (["a"], {}, "at least one Step"),
        ([END], {"moves": ["a"]}, "give moves"),
        ([END], {"guidance_limit": -1}, "guidance_limit"),
        ([END], {"guidance_limit": True}, "guidance_limit"),
        ([END, Step("end")], {}, "two are named 'end'"),
        ([END], {"start": "begin"}, "start names 'begin', which is not there"),
        ([END], {"moves": [Move("end", "gone", never)]}, "end -> gone names 'gone', which is not there"),
        ([END], {"moves": [Move("gone", "end", never)]}, "gone -> end names 'gone', which is not there"),
        ([END, Step("a")], {}, "no move leads to 'a'; from 'a' no way leads to a final step"),
        ([Step("a")], {}, "from 'a' no way leads to a final step"),
        (
            [Step("a"), END, Step("b"), Step("c")],
            {"moves": [Move("a", "end", never), Move("a", "b", never), Move("b", "c", never), Move("c", "b", never)]},
            "from 'b' no way leads to a final step; from 'c' no way leads to a final step",
        ),
        ([Step("a", block=("complete",))], {"exit": "complete"}, "no way leads to a final step or to complete"),
    ],
)
def test_steps_that_cannot_work_are_refused(steps: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Steps(steps, **settings)


def test_a_tool_that_ends_the_turn_is_a_way_out() -> None:
    steps = Steps(
        [Step("a", allow=("f",)), Step("b", allow=("complete",))], moves=[Move("a", "b", called("f"))], exit="complete"
    )
    assert steps.premature(StepState("b")) is not None, "an answer is not that tool"
    assert plan(start="act").begin() == StepState("act")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Step(""),
        lambda: Step(7),  # type: ignore[arg-type]
        lambda: Step("a", allow="read_*"),  # type: ignore[arg-type]
        lambda: Step("a", block=("",)),
        lambda: Step("a", guidance=None),  # type: ignore[arg-type]
        lambda: Step("a", final=1),  # type: ignore[arg-type]
        lambda: Move("a", "a", never),
        lambda: Move("a", "", never),
        lambda: Move(["a"], "b", never),  # type: ignore[arg-type]
        lambda: Move("a", "b", _later),  # type: ignore[arg-type]
        lambda: Move("a", "b", "called"),  # type: ignore[arg-type]
        lambda: called(""),
        lambda: called("f", times=0),
        lambda: called("f", times=True),
    ],
)
def test_parts_that_cannot_be_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"give|leads to where|guidance is a text"):
        make()
