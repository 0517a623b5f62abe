"""What is refused when a hook is registered: at the start of an app, not in the middle of a turn."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Annotated, Any, NoReturn, Optional

import pytest

from llm_client.service import ChatRequest
from power_loop import hooks as h
from power_loop.errors import HookDefinitionError, InputInvalidError
from power_loop.hooks import CALL_START, CallStart, Deny, Hooks, Proceed, Retry
from power_loop.hooks.verdicts import Verdict
from tests.hooks.kit import TAKES, VERDICTS

pytestmark = pytest.mark.acceptance("G1")

GUARD_OR_OBSERVE = pytest.mark.parametrize("register", ["guard", "observe"])


def annotated(annotation: object) -> Callable[..., Any]:
    def hook(view: object) -> Any:
        return None

    hook.__annotations__["return"] = annotation
    return hook


@pytest.mark.parametrize(
    ("point", "verdict"),
    [pytest.param(p, type(v), id=f"{p}-{type(v).__name__}") for p in h.POINTS for v in VERDICTS],
)
def test_a_verdict_that_the_point_does_not_take_is_refused(point: h.Point[Any, Any], verdict: type) -> None:
    hooks = Hooks()
    if verdict.__name__ in TAKES[point].split():
        hooks.guard(point, annotated(verdict))
        assert hooks.at(point)
        return
    for annotation in (verdict, Proceed | verdict, verdict.__name__, Awaitable[verdict | None]):  # type: ignore[valid-type]
        with pytest.raises(HookDefinitionError, match=f"it may return {verdict.__name__}, which {point} does not take"):
            hooks.guard(point, annotated(annotation))
    assert not hooks.at(point)


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        "None",
        Deny,
        Deny | None,
        Optional[Deny],  # noqa: UP045 - apps write it
        "Deny | ReplaceArguments | None",
        "CallStartVerdict | None",
        h.points.CallStartVerdict,
        Annotated[Deny, "why"],
        Awaitable[Deny],
        Coroutine[Any, Any, Deny | Proceed],
        asyncio.Future[Deny],
        NoReturn,
        Any,
    ],
    ids=str,
)
def test_annotations_that_name_verdicts_of_the_point_pass(annotation: object) -> None:
    hooks = Hooks()
    hooks.guard(CALL_START, annotated(annotation))
    assert hooks.at(CALL_START)


@pytest.mark.parametrize("annotation", [bool, str, "int", object, Verdict, Deny | str, Awaitable[bool]], ids=str)
def test_annotations_that_name_no_verdict_are_refused(annotation: object) -> None:
    with pytest.raises(
        HookDefinitionError, match=r"hook hook: it may return .*, which CALL_START does not take; there"
    ):
        Hooks().guard(CALL_START, annotated(annotation))


@GUARD_OR_OBSERVE
@pytest.mark.parametrize("annotation", ["Nowhere", "1 / 0", "list["])
def test_an_annotation_that_cannot_be_evaluated_is_refused(register: str, annotation: object) -> None:
    with pytest.raises(HookDefinitionError, match=r"its return annotation .* cannot be evaluated"):
        getattr(Hooks(), register)(CALL_START, annotated(annotation))


@pytest.mark.parametrize("annotation", [Deny, Proceed, "Retry | None", Awaitable[Deny]], ids=str)
def test_an_observer_that_may_return_a_verdict_is_refused(annotation: object) -> None:
    with pytest.raises(HookDefinitionError, match=r"an observer changes nothing; register it with guard\(\)"):
        Hooks().observe(CALL_START, annotated(annotation))
    Hooks().observe(CALL_START, annotated(str))


class _Rule:
    def __call__(self, call: CallStart) -> Retry:
        return Retry("x")

    async def method(self, call: CallStart) -> Retry:
        return Retry("x")

    @staticmethod
    def static(call: CallStart) -> Retry:
        return Retry("x")


def _with_more(more: int, call: CallStart) -> Retry:
    return Retry("x")


@functools.wraps(_Rule.static)
def _wrapping(*given: Any) -> Any:
    return _Rule.static(*given)


@pytest.mark.parametrize(
    "function", [_Rule(), _Rule().method, _Rule.static, functools.partial(_with_more, 1), _wrapping, bool]
)
def test_whatever_can_be_called_is_looked_into(function: Any) -> None:
    with pytest.raises(HookDefinitionError, match="does not take"):
        Hooks().guard(CALL_START, function)


def _no_argument() -> None: ...
def _two(view: object, more: object) -> None: ...
def _three(view: object, verdict: object, more: object) -> None: ...
def _by_name(view: object, *, more: object) -> None: ...


@pytest.mark.parametrize("function", [_no_argument, _two, _three, _by_name])
def test_a_guard_takes_the_view_and_nothing_else(function: Any) -> None:
    with pytest.raises(HookDefinitionError, match=r"cannot be called with one argument; take the CallStart$"):
        Hooks().guard(CALL_START, function)


@pytest.mark.parametrize("function", [_no_argument, _three, _by_name])
def test_an_observer_takes_the_view_and_perhaps_the_verdict(function: Any) -> None:
    with pytest.raises(HookDefinitionError, match=r"take the CallStart, or the view and the verdict$"):
        Hooks().observe(CALL_START, function)


def _yields(view: object) -> Iterator[Deny]:
    yield Deny("x")


async def _yields_on_the_loop(view: object) -> AsyncIterator[Deny]:
    yield Deny("x")


@GUARD_OR_OBSERVE
@pytest.mark.parametrize("function", [_yields, _yields_on_the_loop, functools.partial(_yields)])
def test_a_generator_is_refused(register: str, function: Any) -> None:
    with pytest.raises(HookDefinitionError, match="it is a generator; return one verdict"):
        getattr(Hooks(), register)(CALL_START, function)


@GUARD_OR_OBSERVE
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"function": 5}, "a int is no function"),
        ({"point": "CALL_START"}, "'CALL_START' is no point"),
        ({"point": CallStart}, "is no point"),
        ({"order": 1.5}, "its order is 1.5"),
        ({"order": True}, "its order is True"),
        ({"timeout": 0}, "its timeout is 0"),
        ({"timeout": -1}, "its timeout is -1"),
        ({"timeout": float("inf")}, "its timeout is inf"),
        ({"timeout": float("nan")}, "its timeout is nan"),
        ({"timeout": "30"}, "its timeout is '30'"),
        ({"timeout": True}, "its timeout is True"),
        ({"name": " "}, "its name is ' '"),
        ({"name": 7}, "its name is 7"),
    ],
)
def test_options_out_of_range_are_refused(register: str, given: dict[str, Any], problem: str) -> None:
    hooks = Hooks()
    with pytest.raises(HookDefinitionError) as refused:
        getattr(hooks, register)(**{"point": CALL_START, "function": annotated(None)} | given)
    assert problem in str(refused.value)
    assert refused.value.code == "hook.definition"
    assert not any(map(hooks.at, h.POINTS))


def test_a_decorator_gives_the_function_back() -> None:
    hooks = Hooks()

    def guard(call: CallStart) -> Deny:
        return Deny("x")

    async def observer(call: CallStart, verdict: object) -> None: ...

    assert hooks.guard(CALL_START)(guard) is guard
    assert hooks.guard(CALL_START, guard) is guard
    assert hooks.observe(CALL_START)(observer) is observer
    with pytest.raises(HookDefinitionError):
        hooks.guard(h.TURN_END)(guard)  # type: ignore[arg-type]


async def test_a_second_parameter_with_a_default_is_not_for_the_verdict() -> None:
    hooks, told = Hooks(), []

    def one(call: CallStart, more: str = "default") -> None:
        told.append(more)

    def any_number(*given: object) -> None:
        told.append(str(len(given)))

    class Counts:
        async def __call__(self, call: CallStart, verdict: object) -> None:
            told.append(str(verdict))

    hooks.observe(CALL_START, one)
    hooks.observe(CALL_START, any_number)
    hooks.observe(CALL_START, Counts())
    view = CallStart(
        session_id="s", turn=1, round=1, call_id="c", name="f", arguments="", attempt=1, effect=h.views.Effect.READ
    )
    assert (await hooks.run(CALL_START, view)).problems == ()
    assert sorted(told) == ["2", "Proceed()", "default"]


@pytest.mark.parametrize("verdict", [h.Stop, h.Deny, h.Skip, h.Retry])
@pytest.mark.parametrize("text", ["", " \n", None, 5, "\ud800"])
def test_a_verdict_with_a_reason_says_something(verdict: Any, text: object) -> None:
    with pytest.raises(InputInvalidError, match=verdict.__name__):
        verdict(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: h.ReplaceText(None),  # type: ignore[arg-type]
        lambda: h.ReplaceText("\udfff"),
        lambda: h.ReplaceRequest({"messages": []}),  # type: ignore[arg-type]
        lambda: h.ReplaceArguments([1]),  # type: ignore[arg-type]
        lambda: h.ReplaceArguments("{}"),  # type: ignore[arg-type]
        lambda: h.ReplaceArguments({1: 2}),  # type: ignore[dict-item]
        lambda: h.ReplaceArguments({"x": float("nan")}),
        lambda: h.ReplaceArguments({"x": object()}),
        lambda: h.ReplaceArguments({"x": "\ud800"}),
        lambda: h.ReplaceArguments(functools.reduce(lambda inner, _: {"x": inner}, range(100_000), {})),
    ],
)
def test_a_replacement_can_be_stored(make: Callable[[], object]) -> None:
    with pytest.raises(InputInvalidError, match="Replace"):
        make()


def test_a_replacement_keeps_nothing_of_the_apps_own() -> None:
    arguments = {"paths": ["a"], "grüße": None}
    replaced = h.ReplaceArguments(arguments)
    arguments["paths"].append("b")  # type: ignore[union-attr]
    assert replaced.text == '{"paths":["a"],"grüße":null}'
    assert replaced == h.ReplaceArguments({"paths": ["a"], "grüße": None})
    assert h.ReplaceRequest(ChatRequest(messages=())).request.messages == ()
