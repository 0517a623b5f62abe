"""Watchers: whoever looks at each round after it has ended, and says whether the session goes on.

They run together, none of them on the loop's time, and the strongest verdict holds: abort, pause, nudge, continue. A
watcher that fails is said and ignored: it cannot end a session by its own fault.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, runtime_checkable

from llm_client.json_text import read_json
from llm_client.service import Json
from power_loop.rules.seen import Problem, RoundSeen
from power_loop.threads import in_thread
from power_loop.values import cleaned, compact_json, shown

MEMORY_LIMIT: Final = 65_536
"""Bytes of a watcher's memory as JSON."""
NAME_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class Continue:
    """Nothing to say. `CONTINUE` is one."""


CONTINUE: Final = Continue()


@dataclass(frozen=True, slots=True)
class Nudge:
    """The model is told this, and goes on."""

    text: str

    def __post_init__(self) -> None:
        _said(self, "text", self.text)


@dataclass(frozen=True, slots=True)
class Pause:
    """The turn ends here, and a `resume` goes on with it."""

    reason: str

    def __post_init__(self) -> None:
        _said(self, "reason", self.reason)


@dataclass(frozen=True, slots=True)
class Abort:
    """The turn ends for good."""

    reason: str

    def __post_init__(self) -> None:
        _said(self, "reason", self.reason)


Verdict: TypeAlias = Continue | Nudge | Pause | Abort


@dataclass(frozen=True, slots=True)
class Watched:
    """A verdict, and what to remember in this session until the next round."""

    verdict: Verdict
    memory: Json


@runtime_checkable
class Watcher(Protocol):
    @property
    def name(self) -> str:
        """Of the watchers of a loop, its own. Its memory is kept under it."""
        ...

    def watch(self, seen: RoundSeen, memory: Json) -> Verdict | Watched | Awaitable[Verdict | Watched]:
        """What to do after this round. Sync, then in a thread of its own, or async.

        A verdict alone leaves the memory as it was.

        Args:
            memory: What it remembered last in this session, as JSON gives it back (tuples are lists, keys are texts),
                after any restart; None at first. A copy of its own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all watchers together say of a round."""

    verdict: Verdict
    by: tuple[str, ...]
    """The names of those whose verdict it is; of no one if it is `CONTINUE`."""
    nudge: Nudge | None
    """What all nudges come to, also where a pause or an abort beats them: then they were not told yet."""
    memories: Mapping[str, Json]
    """By name, what to keep for the next round; also of watchers that were not asked."""
    problems: tuple[Problem, ...]


def watchers_of(value: object) -> tuple[Watcher, ...]:
    """The watchers of a configuration: one, several in the order in which their nudges are told, or None for no one.

    Raises:
        ValueError: one is no watcher, or two have the same name.
    """
    many = () if value is None else tuple(value) if isinstance(value, Iterable) else (value,)
    watchers = tuple(_watcher(one) for one in many)
    names = [watcher.name for watcher in watchers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{names.count(name)} watchers are named {name!r}: give each its own, as their memories are kept by it"
            )
    return watchers


async def watch_round(
    watchers: Sequence[Watcher], seen: RoundSeen, memories: Mapping[str, Json], *, timeout: float
) -> Outcome:
    """Ask all watchers at once about a round that has ended.

    Several verdicts of the strongest kind become one, in the order of the watchers. One that raises, takes longer than
    `timeout` seconds, gives no verdict or a memory that cannot be kept (no JSON, or more than `MEMORY_LIMIT` bytes) is
    a problem: its verdict does not count, its memory stays. What takes too long is cancelled, or left behind if it is
    a thread, and not waited for. Nothing is written here.
    """
    asked = [asyncio.ensure_future(_ask(watcher, seen, memories.get(watcher.name))) for watcher in watchers]
    try:
        if asked:
            await asyncio.wait(asked, timeout=timeout)
    finally:
        for task in asked:
            task.add_done_callback(_heard)
            task.cancel()
    kept, problems, verdicts = dict(memories), [], []
    for watcher, task in zip(watchers, asked, strict=True):
        if not task.done():
            answer: Watched | str = f"gave no verdict within {timeout:g} s"
        else:
            answer = "cancelled itself" if task.cancelled() else task.result()
        if isinstance(answer, str):
            problems.append(Problem(watcher.name, cleaned(answer)))
            continue
        verdicts.append((watcher.name, answer.verdict))
        if answer.memory is not None:
            kept[watcher.name] = answer.memory
        else:
            kept.pop(watcher.name, None)
    verdict, by = _strongest(verdicts)
    return Outcome(verdict, by, _nudge(verdicts), kept, tuple(problems))


async def _ask(watcher: Watcher, seen: RoundSeen, memory: Json) -> Watched | str:
    """Its verdict with the memory to keep, or what is wrong with it."""
    try:
        before: Json = read_json(compact_json(memory))
        if inspect.iscoroutinefunction(watcher.watch):
            said: object = await watcher.watch(seen, before)
        else:
            said = await in_thread(lambda: watcher.watch(seen, before), "watcher", watcher.name)
            said = await said if inspect.isawaitable(said) else said
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return "was cancelled from within"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - code of the app's
        return f"raised {type(error).__name__}: {_words(error)}"
    if isinstance(said, Watched):
        verdict: object = said.verdict
        text = _memory(said.memory)
        if text is None:
            return f"gave a memory that is no JSON of at most {MEMORY_LIMIT:,} bytes"
    else:
        verdict, text = said, compact_json(memory)
    if not isinstance(verdict, Continue | Nudge | Pause | Abort):
        return f"gave {shown(verdict)}, not CONTINUE, Nudge, Pause, Abort, or Watched with one of them"
    return Watched(verdict, read_json(text))


def _memory(memory: object) -> str | None:
    try:
        text = compact_json(memory)
        read_json(text)
        return text if len(text.encode()) <= MEMORY_LIMIT else None
    except (TypeError, ValueError, RecursionError):
        return None


def _strongest(verdicts: Sequence[tuple[str, Verdict]]) -> tuple[Verdict, tuple[str, ...]]:
    if aborts := [(name, verdict.reason) for name, verdict in verdicts if isinstance(verdict, Abort)]:
        return Abort(_joined(aborts)), _names(aborts)
    if pauses := [(name, verdict.reason) for name, verdict in verdicts if isinstance(verdict, Pause)]:
        return Pause(_joined(pauses)), _names(pauses)
    nudge = _nudge(verdicts)
    return (CONTINUE, ()) if nudge is None else (nudge, _names(_nudges(verdicts)))


def _nudge(verdicts: Sequence[tuple[str, Verdict]]) -> Nudge | None:
    nudges = _nudges(verdicts)
    return Nudge(_joined(nudges, by="\n\n")) if nudges else None


def _nudges(verdicts: Sequence[tuple[str, Verdict]]) -> Sequence[tuple[str, str]]:
    return [(name, verdict.text) for name, verdict in verdicts if isinstance(verdict, Nudge)]


def _joined(said: Sequence[tuple[str, str]], *, by: str = "; ") -> str:
    return by.join(cleaned(text) for _, text in said)


def _names(said: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(name for name, _ in said)


def _heard(task: asyncio.Future[Watched | str]) -> None:
    """What came too late is dropped in silence: it is said already."""
    if not task.cancelled():
        task.exception()


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - even that is an app's own
        return "and cannot say why"


def _said(of: object, field: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{type(of).__name__}({field}={shown(text)}): say something")


def _watcher(given: object) -> Watcher:
    way_out = "give an object with a name and a method watch(seen, memory)"
    if isinstance(given, type) or not isinstance(given, Watcher):
        raise ValueError(f"{shown(given)} is no watcher: {way_out}")
    name: object = given.name
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_LIMIT or cleaned(name) != name:
        raise ValueError(f"a watcher is named {shown(name)}: give a text of 1 to {NAME_LIMIT} characters")
    watch: object = given.watch
    if not callable(watch) or inspect.isgeneratorfunction(watch) or inspect.isasyncgenfunction(watch):
        raise ValueError(f"watch of the watcher {name!r} is no function: {way_out}")
    try:
        inspect.signature(watch).bind(None, None)
    except TypeError as error:
        raise ValueError(f"watch of the watcher {name!r} cannot be called ({error}): {way_out}") from None
    except ValueError:
        pass  # a builtin, which does not tell its signature
    return given
