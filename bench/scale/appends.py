"""Store appends of 1 KB from many writers at once, against raw sqlite3: appends a second, commits and CPU an append."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final, Protocol

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import ask
from bench.scale.group import Group
from llm_client.service import Usage
from power_loop.engine import facts as f
from power_loop.engine.calls import CallState, SettledBy
from power_loop.store import open_store
from power_loop.store.contract import Begun, Claim, Input, NewSession
from power_loop.values import CallKey, Effect, InputMode, SessionId

WRITERS: Final = (1, 10, 50, 200)
SIZE: Final = 1024
USER: Final = '{"role":"user","content":"' + "x" * (SIZE - 28) + '"}'
RESULT: Final = '{"role":"tool","tool_call_id":"call","content":"' + "x" * (SIZE - 50) + '"}'
assert len(USER) == len(RESULT) == SIZE

CALLED: Final = f.ModelCall(
    purpose="answer", model="m", usage=Usage(prompt_tokens=1, completion_tokens=1), milliseconds=1
)


class Contestant(Protocol):
    name: str
    most: int
    """Appends a batch, at most."""

    @property
    def commits(self) -> int: ...
    async def open(self, path: Path) -> None: ...
    async def prepare(self, writers: int, each: int) -> None:
        """What has to be there before a batch; not measured."""
        ...

    async def append(self, writer: int, number: int) -> None: ...
    async def finish(self, writers: int) -> None:
        """After a batch; not measured."""
        ...

    async def aclose(self) -> None: ...


class _Store:
    most = 1_000_000

    async def open(self, path: Path) -> None:
        self._store: Any = await open_store(path)
        self._sessions: dict[int, SessionId] = {}

    @property
    def commits(self) -> int:
        return int(self._store.commits)

    async def prepare(self, writers: int, each: int) -> None:
        for writer in range(len(self._sessions), writers):
            self._sessions[writer] = SessionId(f"s{writer}")
            await self._store.create_session(NewSession(id=self._sessions[writer]))

    async def finish(self, writers: int) -> None:
        return None

    async def aclose(self) -> None:
        await self._store.aclose()


class Inbox(_Store):
    """One durable message into the inbox of a session: the store's plainest append."""

    name = "queue_input"

    async def append(self, writer: int, number: int) -> None:
        await self._store.queue_input(Input(session=self._sessions[writer], body=USER, queue=InputMode.WAIT))


class Results(_Store):
    """A tool's result: the message, the call's move in the ledger, the check of the epoch."""

    name = "record(CallSettled)"

    async def open(self, path: Path) -> None:
        await super().open(path)
        self._claims: dict[int, Claim] = {}
        self._asked: dict[int, int] = {}
        self._next: dict[int, int] = {}

    async def prepare(self, writers: int, each: int) -> None:
        """Every writer's turn has asked for that many calls, and started them."""
        await super().prepare(writers, each)
        await asyncio.gather(*(self._ask(writer, each) for writer in range(writers)))

    async def _ask(self, writer: int, each: int) -> None:
        if writer not in self._claims:
            begun = await self._store.begin_turn(Input(session=self._sessions[writer], body=USER))
            assert isinstance(begun, Begun)
            self._claims[writer], self._next[writer] = begun.claim, begun.next_seq + 1
        claim, seq = self._claims[writer], self._next[writer]
        self._asked[writer], self._next[writer] = seq, seq + each + 1
        keys = tuple(CallKey(seq, ordinal) for ordinal in range(each))
        calls = tuple(
            f.RequestedCall(
                key=key, id=f"c{key.ordinal}", name="t", arguments="{}", effect=Effect.READ, schema_hash=None
            )
            for key in keys
        )
        of: dict[str, Any] = {"session": claim.session, "turn": claim.turn}
        answer = f.NewMessage(seq=seq, role="assistant", body='{"role":"assistant","content":null}')
        asked = f.CallsRequested(round=1, message=answer, model_call=CALLED, calls=calls, **of)
        await self._store.record(claim, [asked, f.CallsStarted(calls=keys, **of)])

    async def append(self, writer: int, number: int) -> None:
        claim, key = self._claims[writer], CallKey(self._asked[writer], number)
        message = f.NewMessage(seq=key.seq + 1 + number, role="tool", body=RESULT)
        settled = f.CallSettled(
            session=claim.session,
            turn=claim.turn,
            key=key,
            state=CallState.SUCCEEDED,
            settled_by=SettledBy.RUN,
            message=message,
        )
        await self._store.record(claim, [settled])

    async def finish(self, writers: int) -> None:
        for writer in range(writers):
            claim = self._claims[writer]
            await self._store.record(claim, [f.RoundClosed(session=claim.session, turn=claim.turn, round=1)])


class _Raw:
    together = True
    most = 1_000_000

    async def open(self, path: Path) -> None:
        self._group = Group(path, together=self.together)
        self._written = 0

    @property
    def commits(self) -> int:
        return self._group.commits

    async def prepare(self, writers: int, each: int) -> None:
        return None

    async def append(self, writer: int, number: int) -> None:
        self._written += 1
        await self._group.append(writer, self._written, "user", USER)

    async def finish(self, writers: int) -> None:
        return None

    async def aclose(self) -> None:
        await self._group.aclose()


class RawGroup(_Raw):
    name = "raw sqlite3, group commit"


class RawEach(_Raw):
    name = "raw sqlite3, one commit a message"
    together = False
    most = 400


KINDS: Final = (Inbox, Results, RawGroup, RawEach)


async def measure(plan: Plan) -> Found:
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        found = await ask(batches, folder=folder, repetitions=plan.repetitions, least=20 if plan.quick else 200)
    base, targets, tables = RawGroup.name, {}, []
    for writers, figures in found.items():
        rows = []
        for kind in KINDS:
            mine = figures[kind.name]
            mine["ratio"] = median(a / b for a, b in zip(mine["rate"], figures[base]["rate"], strict=True))
            rows.append(
                [kind.name, median(mine["rate"]), mine["ratio"], median(mine["commits"]), median(mine["cpu"]) * 1e6]
            )
        title = f"Appends of 1 KB, {writers} writer{'s' * (writers != '1')}, synchronous=FULL, interleaved batches"
        head = ["", "appends/s", "group commit = 1", "commits an append", "CPU us an append"]
        tables.append(Table(title=title, head=head, rows=rows))
        targets[f"append_ratio_{writers}"] = figures[Inbox.name]["ratio"]
        targets[f"record_ratio_{writers}"] = figures[Results.name]["ratio"]
    return Found(tables=tables, data={"writers": found, "targets": targets})


async def batches(folder: str, repetitions: int, least: int) -> dict[str, Any]:
    """All contestants in one process, each with a database of its own, taking turns; a first round warms up."""
    contestants: list[Contestant] = [kind() for kind in KINDS]
    for number, contestant in enumerate(contestants):
        await contestant.open(Path(folder) / f"{number}.db")
    found: dict[str, Any] = {}
    for writers in WRITERS:
        figures: dict[str, dict[str, list[float]]] = {
            one.name: {"rate": [], "commits": [], "cpu": []} for one in contestants
        }
        for repetition in range(-1, repetitions):
            for contestant in _turned(contestants, repetition):
                total = min(max(least, writers * least // 10), contestant.most)
                rate, commits, cpu = await _batch(contestant, writers, max(1, total // writers))
                if repetition >= 0:
                    for name, value in (("rate", rate), ("commits", commits), ("cpu", cpu)):
                        figures[contestant.name][name].append(value)
        found[str(writers)] = figures
    for contestant in contestants:
        await contestant.aclose()
    return found


def _turned(contestants: Sequence[Contestant], by: int) -> Sequence[Contestant]:
    by %= len(contestants)
    return [*contestants[by:], *contestants[:by]]


async def _batch(contestant: Contestant, writers: int, each: int) -> tuple[float, float, float]:
    async def write(writer: int) -> None:
        for number in range(each):
            await contestant.append(writer, number)

    await contestant.prepare(writers, each)
    gc.collect()
    before, cpu, begun = contestant.commits, process_time(), perf_counter()
    await asyncio.gather(*map(write, range(writers)))
    took, cpu, commits = perf_counter() - begun, process_time() - cpu, contestant.commits - before
    await contestant.finish(writers)
    count = writers * each
    return count / took, commits / count, cpu / count
