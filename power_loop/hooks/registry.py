"""`Hooks`: which functions run where, and what comes of asking them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast, get_args, overload

from power_loop.hooks.asking import Problem, failed, said
from power_loop.hooks.definition import TIMEOUT, AnyPoint, Hook, defined
from power_loop.hooks.points import D, Point, V
from power_loop.hooks.verdicts import Proceed, Replacement, Retry, Verdict
from power_loop.values import shown

R = TypeVar("R")

MAX_RETRIES: Final = 10
"""How often guards may ask for the same thing once more; whoever goes on asking has failed."""

_VERDICTS: Final = get_args(Verdict)
_REPLACEMENTS: Final = get_args(Replacement)


@dataclass(frozen=True, slots=True)
class Ruling(Generic[V, D]):
    """What came of a point."""

    verdict: D
    """The final one. A replacement holds the value that came of all of them."""
    view: V
    """With every replacement in it, also of those before a final verdict."""
    problems: tuple[Problem, ...] = ()
    """Hooks that failed; each is in the log."""


class Guarding(Protocol[V, D]):
    """What `hooks.guard(POINT)` gives: it registers a function and returns it."""

    @overload
    def __call__(self, function: Callable[[V], D | None], /) -> Callable[[V], D | None]: ...
    @overload
    def __call__(
        self, function: Callable[[V], Coroutine[Any, Any, D | None]], /
    ) -> Callable[[V], Coroutine[Any, Any, D | None]]: ...


class Observing(Protocol[V, D]):
    """What `hooks.observe(POINT)` gives: it registers a function and returns it."""

    @overload
    def __call__(self, function: Callable[[V], R], /) -> Callable[[V], R]: ...
    @overload
    def __call__(self, function: Callable[[V, D], R], /) -> Callable[[V, D], R]: ...


class Hooks:
    """The hooks of a loop: guards, who decide, and observers, who are told.

    Both are functions, sync or async, of the point's view. At a point the guards are asked one after the other, the
    lowest `order` first, among equals the first registered; then the observers are told, all at once.

    A guard returns a verdict of the point; None is `Proceed`. After a replacement the next guard sees the view with it;
    any other verdict is final and the guards behind are not asked. A guard that raises, takes longer than `timeout`
    seconds or returns anything else has failed, and that is final too: `Point.closed` says what it means, a denial
    wherever there is one. An observer that fails is reported and changes nothing.

    Functions can be registered at any time; a point that is being passed goes on with those it began with.
    """

    def __init__(self) -> None:
        self._guards: dict[AnyPoint, tuple[Hook, ...]] = {}
        self._observers: dict[AnyPoint, tuple[Hook, ...]] = {}

    @overload
    def guard(
        self, point: Point[V, D], *, order: int = 0, timeout: float | None = TIMEOUT, name: str | None = None
    ) -> Guarding[V, D]: ...
    @overload
    def guard(
        self,
        point: Point[V, D],
        function: Callable[[V], D | None],
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Callable[[V], D | None]: ...
    @overload
    def guard(
        self,
        point: Point[V, D],
        function: Callable[[V], Awaitable[D | None]],
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Callable[[V], Awaitable[D | None]]: ...
    def guard(
        self,
        point: AnyPoint,
        function: Any = None,
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Any:
        """Have a function decide at a point; also as a decorator, `@hooks.guard(CALL_START)`. Returns the function.

        `timeout` is in seconds, None for no limit. `name` is how reasons and logs call it; the function's own unless
        said.

        Raises:
            HookDefinitionError: it cannot: its return annotation names what is no verdict of the point or cannot be
                evaluated, it cannot be called with the view, it is a generator, or an option is out of range. What it
                returns without an annotation is seen when it runs.
        """
        if function is None:
            return lambda decorated: self.guard(point, decorated, order=order, timeout=timeout, name=name)
        at, hook = defined(point, function, guards=True, order=order, timeout=timeout, name=name)
        _add(self._guards, at, hook)
        return function

    @overload
    def observe(
        self, point: Point[V, D], *, order: int = 0, timeout: float | None = TIMEOUT, name: str | None = None
    ) -> Observing[V, D]: ...
    @overload
    def observe(
        self,
        point: Point[V, D],
        function: Callable[[V], R],
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Callable[[V], R]: ...
    @overload
    def observe(
        self,
        point: Point[V, D],
        function: Callable[[V, D], R],
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Callable[[V, D], R]: ...
    def observe(
        self,
        point: AnyPoint,
        function: Any = None,
        *,
        order: int = 0,
        timeout: float | None = TIMEOUT,
        name: str | None = None,
    ) -> Any:
        """Have a function told of what passes a point, once the guards have decided; else as `guard`.

        It gets the view with every replacement in it, and the verdict as well if it takes two arguments. `order` is the
        order in which observers are started; the turn waits until the last has returned or is out of time. What it
        returns is dropped.

        Raises:
            HookDefinitionError: it cannot be called so, it is a generator, its return annotation names a verdict, or an
                option is out of range.
        """
        if function is None:
            return lambda decorated: self.observe(point, decorated, order=order, timeout=timeout, name=name)
        at, hook = defined(point, function, guards=False, order=order, timeout=timeout, name=name)
        _add(self._observers, at, hook)
        return function

    def at(self, point: AnyPoint) -> bool:
        """Whether anything is registered at a point: without, neither a view nor a `run` is needed."""
        return point in self._guards or point in self._observers

    @property
    def silent(self) -> bool:
        """Whether nothing is registered at all."""
        return not self._guards and not self._observers

    def guarded(self, point: AnyPoint) -> bool:
        """Whether there are guards at a point: without, whatever passes it proceeds."""
        return point in self._guards

    async def run(self, point: Point[V, D], view: V) -> Ruling[V, D]:
        """Ask the guards of a point and tell its observers. Nothing is recorded in here.

        The verdict is one that the point takes, whatever the functions did: `Proceed` if no guard had anything to say,
        the last replacement if there were only such, else the final verdict. A `Retry` beyond `MAX_RETRIES` (see
        `retries` of the view) counts as a failure of its guard.

        If it is cancelled, so is the function that runs, and no other is entered; only that leaves it.
        """
        guards, observers = self._guards.get(point, ()), self._observers.get(point, ())
        return await _heard(point, observers, await _decided(point, guards, view))

    async def decide(self, point: Point[V, D], view: V) -> Ruling[V, D]:
        """The first half of `run`: ask the guards."""
        return await _decided(point, self._guards.get(point, ()), view)

    async def tell(self, point: Point[V, D], ruling: Ruling[V, D]) -> Ruling[V, D]:
        """The other half: tell the observers."""
        return await _heard(point, self._observers.get(point, ()), ruling)


def _add(hooks: dict[AnyPoint, tuple[Hook, ...]], point: AnyPoint, hook: Hook) -> None:
    hooks[point] = tuple(sorted((*hooks.get(point, ()), hook), key=lambda one: one.order))


async def _decided(point: Point[V, D], guards: tuple[Hook, ...], view: V) -> Ruling[V, D]:
    verdict = point.proceed
    for hook in guards:
        found = await said(point, hook, view)
        if found is None or isinstance(found, Proceed):
            continue
        taken = found if isinstance(found, Problem) else _taken(point, hook, view, found)
        if isinstance(taken, Problem):
            verdict = point.closed(view, str(taken))
            return Ruling(verdict, _seen(point, view, verdict), (taken,))
        verdict, view = taken
        if not isinstance(verdict, _REPLACEMENTS):
            break
    return Ruling(verdict, view)


async def _heard(point: Point[V, D], observers: tuple[Hook, ...], ruling: Ruling[V, D]) -> Ruling[V, D]:
    if not observers:
        return ruling
    told = await asyncio.gather(*(_told(point, hook, ruling) for hook in observers))
    return Ruling(ruling.verdict, ruling.view, (*ruling.problems, *filter(None, told)))


def _taken(point: Point[V, D], hook: Hook, view: V, verdict: Any) -> tuple[D, V] | Problem:
    """The verdict and the view after it, or the problem that it cannot be one here."""
    if not isinstance(verdict, point.verdicts):
        takes = ", ".join(one.__name__ for one in point.verdicts)
        return failed(point, hook, f"it returned {shown(verdict)}, and {point} takes {takes}")
    if isinstance(verdict, Retry) and getattr(view, "retries", 0) >= MAX_RETRIES:
        return failed(point, hook, f"it asked for more than {MAX_RETRIES} retries")
    try:
        return cast("D", verdict), _seen(point, view, verdict)
    except ValueError as error:
        return failed(point, hook, f"its replacement does not fit: {error}")


def _seen(point: Point[V, D], view: V, verdict: object) -> V:
    return point.replaced(view, verdict) if isinstance(verdict, _REPLACEMENTS) else view


async def _told(point: Point[V, D], hook: Hook, ruling: Ruling[V, D]) -> Problem | None:
    given = (ruling.view, ruling.verdict) if hook.hears_verdict else (ruling.view,)
    found = await said(point, hook, *given)
    if isinstance(found, Problem):
        return found
    if isinstance(found, _VERDICTS):
        return failed(point, hook, f"it returned {shown(found)}, and an observer changes nothing; make it a guard")
    return None
