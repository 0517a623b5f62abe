"""What comes of asking guards and telling observers: every point, every verdict, whatever the functions do."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from llm_client.service import ChatRequest
from power_loop import hooks as h
from power_loop.engine.calls import CallState
from power_loop.hooks import Hooks
from power_loop.hooks.verdicts import Verdict
from tests.hooks.kit import REPLACED, TAKES, VERDICTS, VIEWS, WHERE, closed, replacement

pytestmark = pytest.mark.acceptance("G1")

AnyPoint = h.Point[Any, Any]
POINT_BY_VERDICT = [
    pytest.param(point, verdict, id=f"{point}-{type(verdict).__name__}") for point in h.POINTS for verdict in VERDICTS
]
EVERY_POINT = pytest.mark.parametrize("point", h.POINTS, ids=str)
CALL = VIEWS[h.CALL_START]
assert isinstance(CALL, h.CallStart)


def test_the_table_of_the_tests_has_every_point() -> None:
    assert set(h.POINTS) == set(VIEWS) == set(TAKES)
    assert {str(point): type(VIEWS[point]) for point in h.POINTS} == {str(point): point.view for point in h.POINTS}
    constants = {name for name in h.__all__ if isinstance(getattr(h, name), h.Point)}
    assert constants == {point.name for point in h.POINTS}


@EVERY_POINT
async def test_nobody_asked_is_to_proceed(point: AnyPoint) -> None:
    hooks = Hooks()
    assert not hooks.at(point)
    assert await hooks.run(point, VIEWS[point]) == h.Ruling(h.Proceed(), VIEWS[point])


@EVERY_POINT
async def test_none_is_to_proceed(point: AnyPoint) -> None:
    hooks = Hooks()
    hooks.guard(point, lambda view: None)
    assert hooks.at(point)
    assert [other for other in h.POINTS if hooks.at(other)] == [point]
    assert await hooks.run(point, VIEWS[point]) == h.Ruling(h.Proceed(), VIEWS[point])


@pytest.mark.parametrize(("point", "verdict"), POINT_BY_VERDICT)
@pytest.mark.parametrize("is_async", [False, True])
async def test_every_verdict_at_every_point(point: AnyPoint, verdict: Verdict, is_async: bool) -> None:
    hooks, later, told = Hooks(), [], []

    def sync(view: Any) -> Any:
        return verdict

    async def on_the_loop(view: Any) -> Any:
        return verdict

    hooks.guard(point, on_the_loop if is_async else sync, name="first")
    hooks.guard(point, later.append)
    hooks.observe(point, lambda view, final: told.append((view, final)))
    view = VIEWS[point]
    ruling = await hooks.run(point, view)
    takes = type(verdict).__name__ in TAKES[point].split()
    if not takes:
        assert [problem.hook for problem in ruling.problems] == ["first"]
        assert "it returned" in ruling.problems[0].reason
        assert ruling.verdict == closed(point, str(ruling.problems[0]))
    else:
        assert ruling.problems == ()
        assert ruling.verdict == verdict
    if takes and isinstance(verdict, h.ReplaceText | h.ReplaceRequest | h.ReplaceArguments):
        view = replace(view, **{REPLACED[point]: replacement(verdict)})
        assert ruling.view == view
    goes_on = takes and isinstance(verdict, h.Proceed | h.ReplaceText | h.ReplaceRequest | h.ReplaceArguments)
    assert later == ([view] if goes_on else [])
    assert told == [(ruling.view, ruling.verdict)]


class _WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError


async def _raises(view: object) -> Any:
    raise LookupError("no such rule")


def _raises_in_a_thread(view: object) -> Any:
    raise LookupError("no such rule")


def _cannot_say_why(view: object) -> Any:
    raise _WordlessError


def _says_much(view: object) -> Any:
    raise ValueError("\ud800" + "x" * 100_000)


def _leaves(view: object) -> Any:
    sys.exit(3)


async def _leaves_on_the_loop(view: object) -> Any:
    sys.exit(3)


async def _ends_more_than_the_call(view: object) -> Any:
    raise BaseException("all of it")


async def _awaits_something_cancelled(view: object) -> Any:
    inner = asyncio.create_task(asyncio.sleep(1))
    inner.cancel()
    await inner


async def _cancels_itself(view: object) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _hangs(view: object) -> Any:
    await asyncio.Event().wait()


async def _hangs_stubbornly(view: object) -> Any:
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling() > 1:
                raise


def _hangs_in_a_thread(view: object) -> Any:
    threading.Event().wait(5)


def _nonsense(view: object) -> Any:
    return "deny"


def _false(view: object) -> Any:
    return False


def _verdict_class(view: object) -> Any:
    return h.Proceed


def _wrong_value(view: object) -> Any:
    return h.Stop("")


FAULTS = {
    _raises: "it raised LookupError: no such rule",
    _raises_in_a_thread: "it raised LookupError: no such rule",
    _cannot_say_why: "it raised _WordlessError: and cannot say why",
    _says_much: "it raised ValueError: �xxx",
    _leaves: "raised SystemExit: 3",
    _leaves_on_the_loop: "tried to end the process",
    _ends_more_than_the_call: "it raised BaseException: all of it",
    _awaits_something_cancelled: "was cancelled from within",
    _cancels_itself: "it cancelled its own task",
    _hangs: "it did not return within 0.02 s",
    _hangs_in_a_thread: "it did not return within 0.02 s",
    _nonsense: "it returned 'deny', and",
    _false: "it returned False, and",
    _verdict_class: "it returned <class",
    _wrong_value: "Stop(reason) says nothing",
}


@EVERY_POINT
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_a_guard_that_fails_is_a_denial(point: AnyPoint, fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    hooks, later = Hooks(), []
    hooks.guard(point, fault, name="rule", timeout=0.02 if "hangs" in fault.__name__ else 60)
    hooks.guard(point, later.append)
    with caplog.at_level(logging.WARNING, "power_loop.hooks"):
        ruling = await hooks.run(point, VIEWS[point])
    (problem,) = ruling.problems
    assert (problem.point, problem.hook, problem.kind) == (str(point), "rule", "guard")
    assert FAULTS[fault] in problem.reason
    assert len(problem.reason) < 700
    problem.reason.encode()
    assert str(problem) == f"guard rule failed: {problem.reason}"
    assert ruling.verdict == closed(point, str(problem))
    assert isinstance(ruling.verdict, point.verdicts)
    assert later == []
    (record,) = caplog.records
    assert f"at {point} {problem}" in record.getMessage()
    assert len(record.getMessage()) < 6_000


@EVERY_POINT
@pytest.mark.parametrize("fault", [one for one in FAULTS if one not in (_nonsense, _false, _verdict_class)])
async def test_an_observer_that_fails_is_reported_and_changes_nothing(
    point: AnyPoint, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hooks, told = Hooks(), []
    hooks.observe(point, fault, name="audit", timeout=0.02 if "hangs" in fault.__name__ else 60)
    hooks.observe(point, told.append)
    with caplog.at_level(logging.WARNING, "power_loop.hooks"):
        ruling = await hooks.run(point, VIEWS[point])
    assert (ruling.verdict, ruling.view) == (h.Proceed(), VIEWS[point])
    (problem,) = ruling.problems
    assert (problem.hook, problem.kind) == ("audit", "observer")
    assert FAULTS[fault] in problem.reason
    assert told == [VIEWS[point]]
    assert len(caplog.records) == 1


async def test_what_an_observer_returns_is_dropped_but_a_verdict_is_reported() -> None:
    hooks = Hooks()
    hooks.observe(h.CALL_START, lambda view: "seen")
    assert (await hooks.run(h.CALL_START, CALL)).problems == ()
    hooks.observe(h.CALL_START, lambda view: h.Deny("no"), name="means well")
    ruling = await hooks.run(h.CALL_START, CALL)
    assert ruling.verdict == h.Proceed()
    assert [problem.hook for problem in ruling.problems] == ["means well"]
    assert "make it a guard" in ruling.problems[0].reason


async def test_guards_are_asked_by_order_and_then_as_they_were_registered() -> None:
    hooks, asked = Hooks(), []

    def guard(name: str, order: int) -> None:
        hooks.guard(h.ROUND_START, lambda view: asked.append(name), order=order)

    for name, order in (("late", 5), ("a", 0), ("b", 0), ("early", -1), ("c", 0)):
        guard(name, order)
    await hooks.run(h.ROUND_START, h.RoundStart(**WHERE))
    assert asked == ["early", "a", "b", "c", "late"]


async def test_each_guard_sees_the_view_with_the_replacements_before_it() -> None:
    hooks, seen = Hooks(), []

    @hooks.guard(h.CALL_START)
    def halves(call: h.CallStart) -> h.ReplaceArguments:
        seen.append(call.values["amount"])
        return h.ReplaceArguments({"amount": 2})

    @hooks.guard(h.CALL_START)
    async def halves_again(call: h.CallStart) -> h.ReplaceArguments:
        seen.append(call.values["amount"])
        return h.ReplaceArguments({"amount": 1})

    @hooks.guard(h.CALL_START)
    def content(call: h.CallStart) -> h.Proceed:
        seen.append(call.values["amount"])
        return h.Proceed()

    hooks.observe(h.CALL_START, lambda call: seen.append(call.arguments))
    ruling = await hooks.run(h.CALL_START, CALL)
    assert seen == [5, 2, 1, '{"amount":1}']
    assert ruling.verdict == h.ReplaceArguments({"amount": 1})
    assert ruling.view == replace(CALL, arguments='{"amount":1}')
    assert CALL.arguments == '{"amount":5}'


async def test_a_denial_after_a_replacement_is_a_denial() -> None:
    hooks = Hooks()
    hooks.guard(h.CALL_START, lambda call: h.ReplaceArguments({}))
    hooks.guard(h.CALL_START, lambda call: h.Deny(f"no amount in {call.arguments}"))
    ruling = await hooks.run(h.CALL_START, CALL)
    assert ruling.verdict == h.Deny("no amount in {}")
    assert ruling.view == replace(CALL, arguments="{}")


async def test_a_failure_after_a_replacement_withholds_the_result_all_the_same() -> None:
    hooks, told = Hooks(), []
    hooks.guard(h.CALL_END, lambda call: h.ReplaceText("half a secret"))
    hooks.guard(h.CALL_END, _raises, name="rule")
    hooks.observe(h.CALL_END, told.append)
    view = VIEWS[h.CALL_END]
    assert isinstance(view, h.CallEnd)
    ruling = await hooks.run(h.CALL_END, view)
    notice = "[This result was withheld: guard rule failed: it raised LookupError: no such rule]"
    assert ruling.verdict == h.ReplaceText(notice)
    assert told == [ruling.view] == [replace(view, result=notice)]


async def test_a_result_whose_guard_fails_is_appended_as_a_notice_and_never_missing() -> None:
    hooks = Hooks()
    hooks.guard(h.MESSAGE_APPEND, _raises, name="rule")
    for role in ("user", "assistant", "tool"):
        ruling = await hooks.run(h.MESSAGE_APPEND, h.MessageAppend(**WHERE, role=role, text="a secret"))
        why = "guard rule failed: it raised LookupError: no such rule"
        notice = h.ReplaceText(f"[This result was withheld: {why}]")
        assert ruling.verdict == (notice if role == "tool" else h.Stop(why))


@pytest.mark.parametrize("point", [h.MODEL_ANSWER, h.CALL_ERROR, h.TURN_END], ids=str)
async def test_guards_cannot_ask_for_retries_for_ever(point: AnyPoint) -> None:
    hooks = Hooks()
    hooks.guard(point, lambda view: h.Retry("again"), name="stubborn")
    view: Any = replace(VIEWS[point], retries=h.MAX_RETRIES - 1)  # type: ignore[call-arg]
    assert (await hooks.run(point, view)).verdict == h.Retry("again")
    ruling = await hooks.run(point, replace(view, retries=h.MAX_RETRIES))
    assert ruling.verdict == closed(point, str(ruling.problems[0]))
    assert "more than 10 retries" in ruling.problems[0].reason


@pytest.mark.parametrize(
    ("point", "view"),
    [
        pytest.param(h.MEMORY_RECALL, VIEWS[h.MEMORY_RECALL], id="note"),
        pytest.param(h.MODEL_ANSWER, VIEWS[h.MODEL_ANSWER], id="answer"),
        pytest.param(h.MESSAGE_APPEND, VIEWS[h.MESSAGE_APPEND], id="message"),
    ],
)
async def test_a_text_that_must_say_something_is_not_replaced_by_nothing(point: AnyPoint, view: h.View) -> None:
    hooks = Hooks()
    hooks.guard(point, lambda view: h.ReplaceText(" "))
    ruling = await hooks.run(point, view)
    assert "has to say something" in ruling.problems[0].reason
    assert isinstance(ruling.verdict, h.Stop)
    assert ruling.view == view


@pytest.mark.parametrize(
    ("point", "view"),
    [
        pytest.param(
            h.MODEL_ANSWER,
            h.ModelAnswer(**WHERE, text="", calls=(h.AskedCall(name="f", arguments="{}"),), usage=None),
            id="answer with calls",
        ),
        pytest.param(h.MESSAGE_APPEND, h.MessageAppend(**WHERE, role="assistant", text=""), id="calls alone"),
        pytest.param(h.MESSAGE_APPEND, h.MessageAppend(**WHERE, role="tool", text="x"), id="result to append"),
        pytest.param(h.CALL_END, VIEWS[h.CALL_END], id="result"),
    ],
)
async def test_where_no_text_is_fine_a_guard_may_give_none(point: AnyPoint, view: h.View) -> None:
    hooks = Hooks()
    hooks.guard(point, lambda view: h.ReplaceText(""))
    ruling = await hooks.run(point, view)
    assert (ruling.verdict, ruling.problems) == (h.ReplaceText(""), ())


ASKS = '{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function"}]}'
ANSWERS = '{"role":"tool","tool_call_id":"c1","content":"4"}'
ASKED = '{"role":"user","content":"x"}'


@pytest.mark.parametrize(
    ("messages", "tools", "problem"),
    [
        ((), (), "no messages"),
        ((ASKED, ASKS), (), "call c1 of message 1 has no result"),
        ((ASKED, ANSWERS), (), "answers no call"),
        ((ASKED, ASKS, ASKED, ANSWERS), (), "has no result"),
        ((ASKED, ASKS.replace('"id":"c1",', "")), (), "has no id"),
        (("{",), (), "no JSON text"),
        (('"hello"',), (), "is no message"),
        (('{"role":"robot"}',), (), "is no message"),
        (('{"role":"tool"}',), (), "is no message"),
        ((7,), (), "no JSON text"),
        (('{"role":"user","content":"\ud800"}',), (), "no JSON text"),
        ((ASKED,), ("[]",), "no JSON object"),
        ((ASKED,), ("{",), "no JSON text"),
    ],
)
async def test_a_request_that_an_endpoint_would_refuse_is_the_guards_failure(
    messages: Any, tools: Any, problem: str
) -> None:
    hooks = Hooks()
    hooks.guard(h.MODEL_REQUEST, lambda view: h.ReplaceRequest(ChatRequest(messages=messages, tools=tools)))
    view = VIEWS[h.MODEL_REQUEST]
    assert isinstance(view, h.ModelRequest)
    ruling = await hooks.run(h.MODEL_REQUEST, view)
    assert problem in ruling.problems[0].reason
    assert isinstance(ruling.verdict, h.Stop)
    assert ruling.view == view


async def test_a_request_with_whole_pairs_is_taken_whatever_else_is_in_its_messages() -> None:
    request = ChatRequest(messages=('{"role":"system","content":"s"}', ASKED, ASKS, ANSWERS), tools=('{"type":"x"}',))
    hooks = Hooks()
    hooks.guard(h.MODEL_REQUEST, lambda view: h.ReplaceRequest(request))
    view = VIEWS[h.MODEL_REQUEST]
    assert isinstance(view, h.ModelRequest)
    assert (await hooks.run(h.MODEL_REQUEST, view)).verdict == h.ReplaceRequest(request)


async def test_a_sync_guard_that_blocks_does_not_block_the_loop() -> None:
    hooks, release, entered = Hooks(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @hooks.guard(h.CALL_START, timeout=None)
    def blocks(call: h.CallStart) -> h.Deny:
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(30)
        assert threading.current_thread().daemon
        return h.Deny(threading.current_thread().name)

    running = asyncio.create_task(hooks.run(h.CALL_START, CALL))
    await entered.wait()
    beats = 0
    for _ in range(50):
        await asyncio.sleep(0)
        beats += 1
    assert not running.done()
    release.set()
    assert (await running).verdict == h.Deny("guard blocks")
    assert beats == 50


async def test_observers_are_told_side_by_side() -> None:
    hooks, met = Hooks(), threading.Barrier(3)
    for _ in range(3):
        hooks.observe(h.CALL_START, lambda view: met.wait(30))
    assert (await hooks.run(h.CALL_START, CALL)).problems == ()


@pytest.mark.parametrize("register", ["guard", "observe"])
async def test_cancelling_goes_through_and_cancels_the_function_that_runs(register: str) -> None:
    hooks, entered, left, later = Hooks(), asyncio.Event(), asyncio.Event(), []

    async def waits(view: object) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    getattr(hooks, register)(h.CALL_START, waits, timeout=None)
    hooks.guard(h.CALL_START, later.append, order=1 if register == "guard" else 0)
    running = asyncio.create_task(hooks.run(h.CALL_START, CALL))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert left.is_set()
    assert later == ([] if register == "guard" else [CALL])


async def test_a_function_that_ignores_its_cancellation_is_left_behind() -> None:
    hooks = Hooks()
    hooks.guard(h.CALL_START, _hangs_stubbornly, name="stubborn", timeout=0.02)
    ruling = await hooks.run(h.CALL_START, CALL)
    assert ruling.verdict == h.Deny("guard stubborn failed: it did not return within 0.02 s")
    (left,) = asyncio.all_tasks() - {asyncio.current_task()}
    left.cancel()
    await asyncio.wait({left})


async def test_an_awaitable_that_a_sync_guard_returns_is_awaited() -> None:
    async def decides() -> h.Deny:
        return h.Deny("on the loop")

    hooks = Hooks()
    hooks.guard(h.CALL_START, lambda call: decides())
    assert (await hooks.run(h.CALL_START, CALL)).verdict == h.Deny("on the loop")


async def test_a_point_that_is_being_passed_goes_on_with_the_hooks_it_began_with() -> None:
    hooks, asked = Hooks(), []

    @hooks.guard(h.CALL_START)
    async def brings_another(call: h.CallStart) -> None:
        hooks.guard(h.CALL_START, asked.append)

    await hooks.run(h.CALL_START, CALL)
    assert asked == []
    await hooks.run(h.CALL_START, CALL)
    assert asked == [CALL]


def test_arguments_are_seen_by_name_and_a_text_that_is_none_has_none() -> None:
    assert CALL.values == {"amount": 5}
    assert CALL.values is not CALL.values
    for text in ("", "{", "[1]", "null", '"x"', "[" * 100_000, "9" * 10_000):
        assert h.AskedCall(name="f", arguments=text).values == {}


def test_a_request_in_a_view_cannot_change_the_one_that_is_sent() -> None:
    extra: dict[str, Any] = {"reasoning": {"effort": "low"}}
    view = h.ModelRequest(**WHERE, request=replace(VIEWS[h.MODEL_REQUEST].request, extra=extra))  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        view.request.extra["more"] = 1
    view.request.extra["reasoning"]["effort"] = "high"
    assert extra == {"reasoning": {"effort": "low"}}


@EVERY_POINT
def test_views_are_frozen(point: AnyPoint) -> None:
    with pytest.raises(AttributeError):
        VIEWS[point].turn = 3  # type: ignore[misc]
    assert not hasattr(VIEWS[point], "__dict__")


def test_states_are_those_of_the_ledger() -> None:
    view = VIEWS[h.CALL_END]
    assert isinstance(view, h.CallEnd)
    assert view.state is CallState.SUCCEEDED
