"""Watchers together: the strongest verdict holds, a failing one is said and ignored, the loop is never blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client.service import Json
from power_loop.rules import (
    CONTINUE,
    Abort,
    Continue,
    Nudge,
    Pause,
    RepeatedCall,
    RoundSeen,
    Verdict,
    Watched,
    watch_round,
    watchers_of,
)
from power_loop.rules.watchers import MEMORY_LIMIT
from tests.rules.kit import ROUND, ask

STRENGTH: list[type] = [Continue, Nudge, Pause, Abort]


class Says:
    """Gives what it is told to, or what the function gives."""

    def __init__(self, name: str, what: Any) -> None:
        self.name, self.what = name, what
        self.shown: list[Json] = []

    def watch(self, seen: RoundSeen, memory: Json) -> Any:
        self.shown.append(memory)
        return self.what(seen, memory) if callable(self.what) else self.what


class SaysLater(Says):
    async def watch(self, seen: RoundSeen, memory: Json) -> Any:
        self.shown.append(memory)
        await asyncio.sleep(0)
        said = self.what(seen, memory) if callable(self.what) else self.what
        return await said if asyncio.iscoroutine(said) else said


def words(verdict: Verdict) -> str:
    match verdict:
        case Nudge(text):
            return text
        case Pause(reason) | Abort(reason):
            return reason
    return ""


@pytest.mark.acceptance("G4")
@given(
    st.lists(
        st.tuples(st.sampled_from([CONTINUE, Nudge("n"), Pause("p"), Abort("a")]), st.booleans(), st.booleans()),
        max_size=6,
    )
)
def test_abort_beats_pause_beats_nudge(given: list[tuple[Verdict, bool, bool]]) -> None:
    def numbered(number: int, verdict: Verdict) -> Verdict:
        return verdict if isinstance(verdict, Continue) else type(verdict)(f"{words(verdict)}{number}")

    verdicts = [numbered(number, verdict) for number, (verdict, _, _) in enumerate(given)]
    watchers = [
        (SaysLater if later else Says)(f"w{number}", Watched(verdict, number) if remembers else verdict)
        for number, (verdict, (_, later, remembers)) in enumerate(zip(verdicts, given, strict=True))
    ]
    outcome = ask(*watchers, memories={"other": "kept"})
    strongest = max((STRENGTH.index(type(verdict)) for verdict in verdicts), default=0)
    heard = [number for number, verdict in enumerate(verdicts) if type(verdict) is STRENGTH[strongest]]
    assert type(outcome.verdict) is STRENGTH[strongest]
    assert outcome.by == (() if strongest == 0 else tuple(f"w{number}" for number in heard))
    joined = ("\n\n" if strongest == 1 else "; ").join(words(verdicts[number]) for number in heard)
    assert words(outcome.verdict) == (joined if strongest else "")
    nudges = [words(verdict) for verdict in verdicts if isinstance(verdict, Nudge)]
    assert outcome.nudge == (Nudge("\n\n".join(nudges)) if nudges else None)
    remembering = {f"w{number}": number for number, (_, _, remembers) in enumerate(given) if remembers}
    assert outcome.memories == {"other": "kept", **remembering}
    assert outcome.problems == ()


def _raises(seen: RoundSeen, memory: Json) -> Any:
    if isinstance(memory, dict):
        memory["changed"] = True
    raise LookupError("no such thing")


def _leaves(seen: RoundSeen, memory: Json) -> Any:
    raise SystemExit(3)


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError


def _cannot_say(seen: RoundSeen, memory: Json) -> Any:
    raise _UnspeakableError


def _ring() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    return deep


FAULTS: dict[str, tuple[Any, str]] = {
    "raises": (_raises, "raised LookupError: no such thing"),
    "ends the process": (_leaves, "SystemExit"),
    "cannot say why": (_cannot_say, "cannot say why"),
    "gives nothing": (None, "gave None"),
    "gives a word": ("pause", "gave 'pause'"),
    "gives a class of verdicts": (lambda seen, memory: Pause, "gave <class"),
    "says nothing": (lambda seen, memory: Nudge("  "), "raised ValueError: Nudge"),
    "remembers no verdict": (lambda seen, memory: Watched(None, 1), "gave None"),  # type: ignore[arg-type]
    "remembers an object": (Watched(Abort("x"), object()), "memory"),  # type: ignore[arg-type]
    "remembers a set": (Watched(Abort("x"), {1}), "memory"),  # type: ignore[arg-type]
    "remembers no number": (Watched(Abort("x"), float("nan")), "memory"),
    "remembers a lone surrogate": (Watched(Abort("x"), "\ud800"), "memory"),
    "remembers a ring": (Watched(Abort("x"), _ring()), "memory"),
    "remembers a well": (Watched(Abort("x"), _deep()), "memory"),
    "remembers too much": (Watched(Abort("x"), "x" * (MEMORY_LIMIT - 1)), "memory"),
    "remembers too much in bytes": (Watched(Abort("x"), "ä" * (MEMORY_LIMIT // 2)), "memory"),
}


@pytest.mark.acceptance("G4")
@pytest.mark.parametrize("kind", [Says, SaysLater])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_watcher_that_fails_is_said_and_ignored(fault: str, kind: type[Says]) -> None:
    what, said = FAULTS[fault]
    outcome = ask(kind("bad", what), Says("good", Watched(Pause("p"), 2)), memories={"bad": {"old": 1}, "good": 1})
    assert (outcome.verdict, outcome.by) == (Pause("p"), ("good",))
    assert outcome.memories == {"bad": {"old": 1}, "good": 2}
    (problem,) = outcome.problems
    assert problem.name == "bad"
    assert said in problem.sentence


def test_a_memory_up_to_the_limit_is_kept() -> None:
    most = "x" * (MEMORY_LIMIT - 2)
    assert ask(Says("w", Watched(CONTINUE, most))).memories == {"w": most}


def test_a_memory_is_what_json_makes_of_it_and_a_copy() -> None:
    mine: dict[Any, Any] = {1: (2, 3)}
    watcher = Says("w", Watched(CONTINUE, mine))
    outcome = ask(watcher)
    mine[1] = "changed"
    assert outcome.memories == {"w": {"1": [2, 3]}}
    ask(watcher, memories=dict(outcome.memories))
    assert watcher.shown == [None, {"1": [2, 3]}]
    assert watcher.shown[1] is not outcome.memories["w"]


def test_none_forgets_and_a_verdict_alone_remembers() -> None:
    assert ask(Says("w", CONTINUE), memories={"w": 1}).memories == {"w": 1}
    assert ask(Says("w", Watched(CONTINUE, None)), memories={"w": 1}).memories == {}


@pytest.mark.acceptance("G4")
async def test_they_run_together_and_none_of_them_on_the_loops_time() -> None:
    met = threading.Barrier(3, timeout=30)
    on_the_loop = asyncio.Event()

    def meet(seen: RoundSeen, memory: Json) -> Verdict:
        met.wait()
        return CONTINUE

    async def later() -> Verdict:
        on_the_loop.set()
        await asyncio.to_thread(met.wait)
        return CONTINUE

    outcome = await watch_round(
        [Says("a", meet), Says("b", meet), SaysLater("c", lambda seen, memory: later())], ROUND, {}, timeout=30
    )
    assert outcome.problems == ()
    assert on_the_loop.is_set()


@pytest.mark.acceptance("G4")
async def test_what_hangs_is_left_behind() -> None:
    released, left, cancelled = threading.Event(), threading.Event(), asyncio.Event()

    def hangs(seen: RoundSeen, memory: Json) -> Verdict:
        released.wait(30)
        left.set()
        return Abort("too late")

    async def waits() -> Verdict:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return CONTINUE

    async def stubborn() -> Verdict:
        while not released.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        raise LookupError("nobody hears this")

    outcome = await watch_round(
        [
            Says("thread", hangs),
            SaysLater("task", lambda seen, memory: waits()),
            SaysLater("stubborn", lambda seen, memory: stubborn()),
            Says("quick", Nudge("n")),
        ],
        ROUND,
        {"thread": 1},
        timeout=1,
    )
    assert outcome.verdict == Nudge("n")
    assert outcome.memories == {"thread": 1}
    assert [name for name, _ in outcome.problems] == ["thread", "task", "stubborn"]
    assert {sentence for _, sentence in outcome.problems} == {"gave no verdict within 1 s"}
    try:
        await asyncio.wait_for(cancelled.wait(), 30)
    finally:
        released.set()
    assert await asyncio.to_thread(left.wait, 30)


async def test_who_asks_can_be_cancelled() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waits() -> Verdict:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return CONTINUE

    asking = asyncio.ensure_future(watch_round([SaysLater("w", lambda seen, memory: waits())], ROUND, {}, timeout=30))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_a_cancellation_of_its_own_making_is_its_fault() -> None:
    async def inner() -> Verdict:
        raise asyncio.CancelledError

    async def itself() -> Verdict:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return CONTINUE

    outcome = await watch_round(
        [SaysLater("a", lambda seen, memory: inner()), SaysLater("b", lambda seen, memory: itself())],
        ROUND,
        {},
        timeout=30,
    )
    assert [(name, "cancelled" in sentence) for name, sentence in outcome.problems] == [("a", True), ("b", True)]


def test_a_sync_method_may_give_something_to_await() -> None:
    async def later() -> Verdict:
        return Pause("p")

    assert ask(Says("w", lambda seen, memory: later())).verdict == Pause("p")


class NoName:
    def watch(self, seen: RoundSeen, memory: Json) -> Verdict:
        return CONTINUE


class Generates(Says):
    def watch(self, seen: RoundSeen, memory: Json) -> Iterator[Verdict]:
        yield CONTINUE


class GeneratesLater(Says):
    async def watch(self, seen: RoundSeen, memory: Json) -> AsyncIterator[Verdict]:  # type: ignore[override]
        yield CONTINUE


class TakesOne(Says):
    def watch(self, seen: RoundSeen) -> Verdict:  # type: ignore[override]
        return CONTINUE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (RepeatedCall, "no watcher: give an object"),
        ([RepeatedCall], "no watcher"),
        ([NoName()], "no watcher"),
        ("repeated_call", "no watcher"),
        (7, "7 is no watcher"),
        ([Says("", CONTINUE)], "is named ''"),
        ([Says("x" * 101, CONTINUE)], "give a text of 1 to 100"),
        ([Says(7, CONTINUE)], "is named 7"),  # type: ignore[arg-type]
        ([Generates("w", None)], "no function"),
        ([GeneratesLater("w", None)], "no function"),
        ([TakesOne("w", None)], "cannot be called"),
        ([RepeatedCall(), RepeatedCall(limit=4)], "2 watchers are named 'repeated_call': give each its own"),
    ],
)
def test_what_is_no_watcher_is_refused_with_a_way_out(given: object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        watchers_of(given)


def test_watchers_keep_their_order() -> None:
    one, two = RepeatedCall(), RepeatedCall(name="other")
    assert watchers_of(None) == ()
    assert watchers_of(one) == (one,)
    assert watchers_of(iter([two, one])) == (two, one)


@pytest.mark.parametrize("make", [Nudge, Pause, Abort])
@pytest.mark.parametrize("text", ["", " \n", None, 7])
def test_a_verdict_says_something(make: Callable[[Any], Verdict], text: object) -> None:
    with pytest.raises(ValueError, match="say something"):
        make(text)


def test_lone_surrogates_do_not_reach_a_history() -> None:
    outcome = ask(Says("w", Nudge("half \ud83d of it")))
    assert outcome.verdict == Nudge("half � of it")
