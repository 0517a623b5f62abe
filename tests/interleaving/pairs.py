"""Two processes on one file: one is held at a point of what it does, another acts meanwhile, then the first goes on.

Both must end as the state of the file at that instant says, and the file must be sound: at that instant, in between,
and at the end.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from power_loop import PowerLoopError, StatefulAgentLoop
from power_loop.store.port import statements
from power_loop.testing.crash import Point
from tests.interleaving.held import OPS, SENDS, SESSION, begin, text_of
from tests.interleaving.oracle import Rows, histories, read

FRESH: Final = "fresh"
"""A session with an answered turn."""
CUT: Final = "cut off"
"""A session whose process died in its last call, which is in doubt."""

FIRST: Final[Mapping[str, str]] = {
    "send": FRESH,
    "resume": CUT,
    "abort": CUT,
    "recover": CUT,
    "send and resume": CUT,
    "send and abort": CUT,
    "resolve": CUT,
    "close": CUT,
}
"""What is held, and where it begins."""
SECOND: Final = tuple(OPS)

FORCING: Final = ("resume by force", "abort by force")
BY_THE_CLOCK: Final = frozenset({"sql.data_version", "sql.stops_requested"})
MEMORY: Final = Path("/dev/shm")
LOOKS: Final = 3
"""How often the file has to look the same to be at rest."""


@dataclass(frozen=True)
class Pair:
    first: str
    point: Point
    second: str

    def command(self) -> str:
        point = f"{self.point.name}:{self.point.nth}"
        return f'python -m tests.interleaving.sweep --first "{self.first}" --at {point} --second "{self.second}"'


@dataclass
class Verdict:
    pair: Pair
    problems: list[str] = field(default_factory=list)
    missed: bool = False
    """The point was not passed this time."""
    found: str = ""
    """What the second process found: the write lock held, the session driven, or neither."""
    first: str = ""
    second: str = ""


@dataclass(frozen=True)
class Seen:
    """The file at one instant."""

    rows: Rows
    contradictions: list[Any]
    locked: bool

    @property
    def session(self) -> dict[str, Any] | None:
        return next(iter(self.rows["sessions"]), None)


def look(folder: Path) -> Seen:
    with closing(sqlite3.connect(f"file:{folder / 'agent.db'}?mode=ro", uri=True, isolation_level=None)) as db:
        invariants = [sql for name, sql in statements("sqlite").items() if name.startswith("invariant_")]
        contradictions = [tuple(row) for sql in invariants for row in db.execute(sql)]
        rows = read(db)
    with closing(sqlite3.connect(folder / "agent.db", timeout=0, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint=0")
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return Seen(rows, contradictions, True)
    return Seen(rows, contradictions, False)


class Court:
    """Judges pairs, in forks of this process, which must have one thread only. Use it as a context."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pairs-", dir=MEMORY if MEMORY.is_dir() else None))
        for before in (FRESH, CUT):
            place = self._folder / before
            place.mkdir()
            child = begin(place, "before", _before)
            assert "result" in (told := child.ended()), told
        child = begin(self._folder / CUT, "dies", OPS["send"], dies=True)
        assert child.ended() == {"died": 9}
        asyncio.run(_before_in(self._folder / "warm"))
        gc.collect()
        gc.freeze()

    def __enter__(self) -> Court:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def points(self, first: str) -> list[Point]:
        """Every point that an operation passes, from the opening of the file to its closing."""
        place = self._place(first, "points")
        told = begin(place, "first", OPS[first]).ended()
        shutil.rmtree(place)
        passed = [Point(*point) for point in told["passed"]]
        return [point for point in passed if point.name not in BY_THE_CLOCK or point.nth == 1]

    def judge(self, pair: Pair) -> Verdict:
        verdict = Verdict(pair)
        place = self._place(pair.first, "pair")
        try:
            self._judge(pair, place, verdict)
        except Exception:  # noqa: BLE001 - a fault of the test must be told like any other
            verdict.problems.append(traceback.format_exc())
        shutil.rmtree(place)
        return verdict

    def _place(self, first: str, name: str) -> Path:
        return Path(shutil.copytree(self._folder / FIRST[first], self._folder / name))

    def _judge(self, pair: Pair, place: Path, verdict: Verdict) -> None:
        begun = look(place)
        first = begin(place, "first", OPS[pair.first], pair.point)
        if not first.held():
            verdict.missed = True
            first.ended()
            return
        held = _at_rest(place) if pair.point.name.startswith("loop.") else look(place)
        second = begin(place, "second", OPS[pair.second]).ended()
        between = look(place)
        first.go_on()
        outcome = first.ended()
        after = look(place)
        verdict.first, verdict.second = _short(outcome), _short(second)
        driven = (
            held.session is not None and held.session["epoch"] != _epoch(begun) and held.session["owner"] is not None
        )
        verdict.found = "locked" if held.locked else "driven" if driven else "free"
        judging = _locked if held.locked else _driven if driven else _free
        verdict.problems += judging(pair, held, between, after, outcome, second)
        for when, seen in (("held", held), ("between", between), ("after", after)):
            verdict.problems += [f"{when}: {tuple(wrong)}" for wrong in seen.contradictions]
            verdict.problems += [f"{when}: {wrong}" for wrong in histories(seen.rows)]
        verdict.problems += [*_kept(held, between), *_kept(between, after)]
        verdict.problems += _inputs(after, (("first", pair.first, outcome), ("second", pair.second, second)))
        if not verdict.problems:
            verdict.problems += self._goes_on(place)

    def _goes_on(self, place: Path) -> Iterator[str]:
        """A last process frees the session, and is answered; nothing was done twice."""
        told = begin(place, "last", _last).ended()
        if told.get("result") not in ("answered", "deleted", "closed"):
            yield f"the session is stuck: {told}"
        end = look(place)
        yield from (f"at the end: {wrong}" for wrong in histories(end.rows))
        yield from (f"at the end: {tuple(wrong)}" for wrong in end.contradictions)
        yield from _effects(place / "ledger", end)


def _at_rest(place: Path) -> Seen:
    """The file once a commit that was under way has ended: at a point of the loop the store's thread is not held."""
    seen, same = look(place), 0
    while same < LOOKS:
        time.sleep(0.002)
        again = look(place)
        same = same + 1 if again == seen and not again.locked else 0
        seen = again
    return seen


def _locked(pair: Pair, held: Seen, between: Seen, after: Seen, first: Any, second: Any) -> Iterator[str]:
    """Whoever is held has the write lock: nobody else writes, and it ends as if it had been alone."""
    busy = second.get("error") == "store.busy" or second.get("result") in ([], ["store.busy"], False)
    if not busy:
        yield f"the write lock was held, and {pair.second} ended as {second}"
    if between.rows != held.rows:
        yield f"{pair.second} wrote, though another process held the write lock"
    yield from _undisturbed(pair, first)


def _driven(pair: Pair, held: Seen, between: Seen, after: Seen, first: Any, second: Any) -> Iterator[str]:
    """Whoever is held drives the session: it loses it to force alone."""
    if pair.second in FORCING:
        if "error" in second:
            yield f"{pair.second} was refused: {second}"
        if first.get("error") != "session.epoch_lost" and first.get("result") != ["session.epoch_lost"]:
            yield f"it was robbed, and ended as {first}"
        if after.rows != between.rows:
            yield "a late write of the robbed was taken"
        return
    if pair.second == "stop":
        if second.get("result") is not True:
            yield f"request_stop said {second}"
        stopped = isinstance(first.get("result"), dict) and first["result"]["status"] in ("stopped", "completed")
        if not stopped and first.get("result") != [None]:
            yield f"it was asked to stop, and ended as {first}"
        return
    if pair.second.startswith("recover"):
        if second.get("result") != []:
            yield f"recover took up a session that is driven: {second}"
    elif second.get("error") != "session.busy":
        yield f"the session was driven, and {pair.second} ended as {second}"
    if between.rows != held.rows:
        yield f"{pair.second} was refused and wrote"
    yield from _undisturbed(pair, first)


REFUSED: Final = frozenset(
    {"session.pending", "session.closed", "session.archived", "session.not_found", "call.settled", "call.not_found"}
)


def _free(pair: Pair, held: Seen, between: Seen, after: Seen, first: Any, second: Any) -> Iterator[str]:
    """Nobody drives it, or whoever did is dead: the second is served at once, and the first finds what it left."""
    for who, op, told in (("second", pair.second, second), ("first", pair.first, first)):
        if "result" not in told and told.get("error") not in REFUSED:
            yield f"{op} ended as {told}"
        if op in SENDS and isinstance(told.get("result"), dict) and told["result"]["text"] != f"re {text_of(who)}":
            yield f"{op} was answered with {told}"


def _undisturbed(pair: Pair, told: Any) -> Iterator[str]:
    result = told.get("result")
    if isinstance(result, dict) and result["status"] != "completed":
        yield f"{pair.first} was disturbed: {told}"
    if "error" in told or "died" in told:
        yield f"{pair.first} was disturbed: {told}"


def _kept(earlier: Seen, later: Seen) -> Iterator[str]:
    """What one process wrote another does not change, unless the session was deleted."""
    if later.session is None:
        return
    bodies = {row["seq"]: row["body"] for row in later.rows["messages"]}
    for row in earlier.rows["messages"]:
        if bodies.get(row["seq"]) != row["body"]:
            yield f"message {row['seq']} became {bodies.get(row['seq'])}"
    calls = {(row["seq"], row["ordinal"]): row for row in later.rows["calls"]}
    for row in earlier.rows["calls"]:
        if row["result_seq"] is not None and calls[row["seq"], row["ordinal"]] != row:
            yield f"call {row['id']} became {calls[row['seq'], row['ordinal']]}"
    ended = {row["number"]: row for row in later.rows["turns"]}
    for row in earlier.rows["turns"]:
        if row["state"] == "done" and ended[row["number"]] != row:
            yield f"turn {row['number']} became {ended[row['number']]}"


def _inputs(after: Seen, told: Iterable[tuple[str, str, Any]]) -> Iterator[str]:
    if after.session is None:
        return
    bodies = [row["body"] for row in after.rows["messages"] if row["role"] == "user"]
    for who, op, outcome in told:
        if op not in SENDS:
            continue
        times = sum(f'"{text_of(who)}"' in body for body in bodies)
        if times > 1:
            yield f"the input of the {who} is stored {times} times"
        if "result" in outcome and outcome["result"]["status"] == "completed" and not times:
            yield f"the input of the {who} was acknowledged and is gone"
        if outcome.get("error") in {*REFUSED, "session.busy", "store.busy"} and times:
            yield f"the input of the {who} was refused ({outcome['error']}) and is stored"


def _effects(ledger: Path, end: Seen) -> Iterator[str]:
    entered: dict[str, list[tuple[str, str]]] = {}
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        name, attempt, key = line.split(" ")
        entered.setdefault(key, []).append((name, attempt))
    known = {f"{row['seq']}.{row['ordinal']}": row for row in end.rows["calls"]}
    for key, runs in entered.items():
        name = runs[0][0]
        if name == "pay" and len(runs) > 1:
            yield f"the once call {key} was entered {len(runs)} times"
        if len({attempt for _, attempt in runs}) != len(runs):
            yield f"attempts of {key} are {runs}"
        call = known.get(key.rpartition("/")[2])
        if end.session is not None and (call is None or call["attempt"] < len(runs)):
            yield f"{key} was entered {len(runs)} times, the ledger has {call}"


def _epoch(seen: Seen) -> int:
    assert seen.session is not None
    epoch: int = seen.session["epoch"]
    return epoch


def _short(told: dict[str, Any]) -> str:
    result = told.get("result")
    return str(told.get("error") or told.get("died") or (result["status"] if isinstance(result, dict) else result))


async def _before(loop: StatefulAgentLoop, _: str) -> str:
    await loop.create_session(SESSION)
    return (await loop.send("hello", SESSION)).final_text


async def _last(loop: StatefulAgentLoop, _: str) -> str:
    for info in await loop.list_sessions(archived=True):
        if info.closed:
            await loop.get_messages(SESSION)
            return "closed"
        if info.archived:
            await loop.archive_session(SESSION, archived=False)
        await loop.resume(SESSION)
        await loop.abort_pending(SESSION)
        with suppress(PowerLoopError):
            return "answered" if (await loop.send("the end", SESSION)).final_text == "re the end" else "not answered"
        return "refused"
    return "deleted"


async def _before_in(folder: Path) -> None:
    """Load what is loaded late, once for all forks."""
    folder.mkdir()
    async with StatefulAgentLoop(db_path=folder / "agent.db") as loop:
        await loop.create_session(SESSION)
