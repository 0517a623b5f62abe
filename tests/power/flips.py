"""`python -m tests.power.flips --flips 1000 --seed 1 --jobs 2`: flip one bit of a database, read everything.

Each read gives what was written or a typed error; a value that no checksum covers and nothing depends on (`UNSEALED`)
may differ. The doctor never fails, and calls bad whatever a read refuses. Prints the outcomes by class; fails if a read
told something wrong. `--flip N` shows one again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeAlias

from power_loop import (
    PowerLoopError,
    SessionInfo,
    SessionNotFoundError,
    SessionStore,
    StatefulAgentLoop,
    StoreError,
    open_store,
    tool,
)
from power_loop.store.replaying import StoredEvent
from power_loop.store.sqlite import doctor
from power_loop.store.sqlite.doctor import Grade
from power_loop.values import SessionId
from tests.power.scenario import Place, Scenario, a_loop, model, scenario

UNSEALED: Final = frozenset(
    {"rounds", "tool_calls", "attempt", "epoch", "active_messages", "folded_by"}
    | {"started_at", "since", "settled_at", "ended_at", "updated_at", "owner_since"}
)
"""Fields of what a read gives that may differ after a flip: times and counters that change with the row.

What decides anything is checked when it is used: an `attempt` is none or some, a turn's `epoch` is sealed, the active
messages are counted when they are read.
"""
ESTIMATES: Final = frozenset({"counted", "folded_since"})
"""What a compaction left of the context, in tokens: it decides only when the next one is tried."""

_MEMORY: Final = Path("/dev/shm")
_PATIENCE: Final = 60
Answer: TypeAlias = "PowerLoopError | Any"


class Outcome(StrEnum):
    NOTHING = "nothing differs, nothing is said"
    NOTED = "nothing differs, the doctor sees it"
    REFUSED = "the file is refused"
    TOLD_ONE = "reads of one session are refused"
    TOLD_MORE = "reads of several sessions are refused"
    UNSEALED = "a time or counter differs"
    WRONG = "WRONG"


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One flipped bit, and what came of it."""

    number: int
    bit: int
    outcome: Outcome
    words: list[str] = field(default_factory=list)


def original(seed: int) -> bytes:
    """A database that was closed: three sessions with folded messages, calls of all kinds, one left in the middle."""
    scratch = Path(tempfile.mkdtemp(prefix="flips-"))
    try:
        return asyncio.run(_write(Place(scratch), scenario("compaction", seed), scenario("together", seed)))
    finally:
        shutil.rmtree(scratch)


SESSIONS: Final = ("one", "two", "left")


async def _write(place: Place, first: Scenario, second: Scenario) -> bytes:
    place.files.mkdir()
    async with a_loop(place, first) as loop:
        await loop.create_session("gone")
        await loop.send(f"chat: {'to be deleted, ' * 2000}", "gone")
        await loop.create_session("one", metadata={"who": "ann \N{SNOWMAN}"})
        for step, text in first.requests("one"):
            await loop.send(text, "one", request_id=step)
        await loop.create_session("two", model="small", parent="one")
        for step, text in second.requests("two"):
            await loop.send(text, "two", request_id=step, metadata={"n": 1})
        await loop.delete_session("gone")
    await _leave(place)
    return place.database.read_bytes()


async def _leave(place: Place) -> None:
    """A turn that is stopped inside a call."""
    inside = asyncio.Event()

    @tool
    async def pay(what: str) -> str:
        inside.set()
        await asyncio.Event().wait()
        return what

    async with StatefulAgentLoop(llm=model(), tools=[pay], db_path=place.database) as loop:
        await loop.create_session("left")
        sending = asyncio.create_task(loop.send("work: lookup pay pay; left", "left"))
        await inside.wait()
        sending.cancel()
        await asyncio.wait([sending])


async def read_all(path: Path) -> dict[str, Answer]:
    """Every read of the API over every session: its values, or its typed error. Any other error is a fault."""
    store = await open_store(path)
    loop = StatefulAgentLoop(store=store)
    answers: dict[str, Answer] = {"list_sessions": await _answered(_listed(loop))}
    for session in SESSIONS:
        reads: Mapping[str, Callable[[str], Awaitable[Any]]] = {
            "get_session": loop.get_session,
            "get_messages": loop.get_messages,
            "get_messages folded": lambda s: loop.get_messages(s, include_compacted=True),
            "get_pending": loop.get_pending,
            "get_calls": loop.get_calls,
            "get_turns": loop.get_turns,
            "get_usage": loop.get_usage,
            "history": lambda s: store.history(SessionId(s)),
            "events": lambda s: _events(store, SessionId(s)),
        }
        for name, read in reads.items():
            answers[f"{name} of {session}"] = await _answered(read(session))
    await loop.aclose()
    await store.aclose()
    return answers


async def _events(store: SessionStore, session: SessionId) -> list[StoredEvent]:
    """All of them; what is wrong with one counts as refused."""
    page = await store.events(session, 0, 1_000)
    for event in page.events:
        if isinstance(event.fact, PowerLoopError):
            raise event.fact
    return list(page.events)


async def _listed(loop: StatefulAgentLoop) -> list[SessionInfo]:
    """By id: they come in the order of `updated_at`."""
    return sorted(await loop.list_sessions(), key=lambda info: info.session_id)


async def _answered(question: Awaitable[Any]) -> Answer:
    try:
        return await question
    except (StoreError, SessionNotFoundError) as error:
        return error


def differences(was: Any, now: Any, where: str) -> Iterator[tuple[str, str]]:
    """The fields that differ, by name and in words."""
    name = where.rpartition(".")[2]
    if is_dataclass(was) and type(was) is type(now):
        for part in fields(was):
            yield from differences(getattr(was, part.name), getattr(now, part.name), f"{where}.{part.name}")
    elif isinstance(was, list | tuple) and isinstance(now, list | tuple) and len(was) == len(now):
        for at, (old, new) in enumerate(zip(was, now, strict=True)):
            yield from differences(old, new, f"{where}[{at}]" if is_dataclass(old) else where)
    elif was != now:
        yield name, f"{where} was {str(was)[:60]!r}, is {str(now)[:60]!r}"


def judge(path: Path, before: dict[str, Answer]) -> tuple[Outcome, list[str]]:
    """What came of the flip in a file."""
    findings = doctor.examine(path)
    bad = [finding.words for finding in findings if finding.grade is Grade.BAD]
    try:
        after = asyncio.run(asyncio.wait_for(read_all(path), _PATIENCE))
    except StoreError as error:
        if not bad:
            return Outcome.WRONG, [f"the file is refused, and the doctor sees nothing: {error}"]
        return Outcome.REFUSED, [str(error)]
    told = {name: answer for name, answer in after.items() if isinstance(answer, PowerLoopError)}
    changed = [
        difference
        for name, answer in after.items()
        if name not in told
        for difference in differences(before[name], answer, name)
    ]
    words = [*(f"{name}: {error}" for name, error in told.items()), *(words for _, words in changed)]
    known = UNSEALED | (frozenset() if any(name.startswith("get_usage") for name in told) else ESTIMATES)
    if any(name not in known for name, _ in changed):
        return Outcome.WRONG, words
    if told and not bad:
        return Outcome.WRONG, ["the doctor sees nothing", *words]
    if told:
        about = {name.rpartition(" of ")[2] for name in told} - {"list_sessions"}
        return Outcome.TOLD_ONE if len(about) <= 1 else Outcome.TOLD_MORE, words
    if changed:
        return Outcome.UNSEALED, words
    return (Outcome.NOTED if bad else Outcome.NOTHING), bad


def flip(base: Path, seed: int, numbers: range) -> list[Flip]:
    """Flip one bit a number: half of them anywhere in the file, half in bytes that are not zero."""
    raw = base.read_bytes()
    used = [at for at, byte in enumerate(raw) if byte]
    found = []
    scratch = Path(tempfile.mkdtemp(prefix="flips-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        path = _fresh(scratch, raw)
        before = asyncio.run(read_all(path))
        refused = [name for name, answer in before.items() if isinstance(answer, PowerLoopError)]
        assert not refused, refused
        for number in numbers:
            chance = random.Random(f"{seed} {number}")
            at = chance.choice(used) if chance.random() < 0.5 else chance.randrange(len(raw))
            bit = at * 8 + chance.randrange(8)
            flipped = bytearray(raw)
            flipped[at] ^= 1 << bit % 8
            outcome, words = _judged(_fresh(scratch, bytes(flipped)), before)
            found.append(Flip(number=number, bit=bit, outcome=outcome, words=words))
    finally:
        shutil.rmtree(scratch)
    return found


def _judged(path: Path, before: dict[str, Answer]) -> tuple[Outcome, list[str]]:
    try:
        return judge(path, before)
    except Exception as error:  # noqa: BLE001 - an error that is not ours, or no answer at all, is what is looked for
        return Outcome.WRONG, [f"untyped: {error!r}", *traceback.format_tb(error.__traceback__)[-3:]]


def _fresh(scratch: Path, raw: bytes) -> Path:
    for left in scratch.iterdir():
        shutil.rmtree(left)
    (scratch / "db").mkdir()
    path = scratch / "db" / "agent.db"
    path.write_bytes(raw)
    return path


def sweep(base: Path, flips: int, *, seed: int, jobs: int = 2) -> list[Flip]:
    parts = [range(flips * n // jobs, flips * (n + 1) // jobs) for n in range(jobs)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [found for part in pool.map(flip, [base] * jobs, [seed] * jobs, parts) for found in part]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.flips", description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--base", type=Path, help="the database that an earlier run kept")
    parser.add_argument("--flip", type=int, help="this one alone")
    options = parser.parse_args()
    begun = time.monotonic()
    base = options.base
    if base is None:
        base = Path(tempfile.mkdtemp(prefix="flips-")) / "base.db"
        base.write_bytes(original(options.seed))
    if options.flip is not None:
        (one,) = flip(base, options.seed, range(options.flip, options.flip + 1))
        print(f"bit {one.bit}: {one.outcome}", *one.words, sep="\n    ")
        return int(one.outcome is Outcome.WRONG)
    found = sweep(base, options.flips, seed=options.seed, jobs=options.jobs)
    for one in found:
        if one.outcome is Outcome.WRONG:
            print(f"--base {base} --seed {options.seed} --flip {one.number}", *one.words[:5], sep="\n    ")
    counts = Counter(one.outcome for one in found)
    print(*(f"{counts[outcome]:>6} {outcome}" for outcome in Outcome if counts[outcome]), sep="\n")
    wrong = counts[Outcome.WRONG]
    print(f"{'FAILED' if wrong else 'ok'}: {len(found)} flips, {wrong} read as truth or failed untyped, "
          f"seed {options.seed}, {time.monotonic() - begun:.0f} s")  # fmt: skip
    if not wrong and options.base is None:
        shutil.rmtree(base.parent)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
