"""What a seed has many callers do at once: to a few sessions, through a few loops, over a few stores of one file."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

from power_loop import AgentLoopConfig, SessionStore, StatefulAgentLoop, StatefulResult, World, open_store
from tests.interleaving.agent import Account, model, tools
from tests.interleaving.shuffled import ShuffledLoop

SINCE: Final = datetime(2030, 1, 1, tzinfo=UTC)
LATEST_STRIKE: Final = 700
"""The last step at which a caller may be cancelled; most schedules have fewer."""


@dataclass(kw_only=True)
class Attempt:
    """One call of the public interface, and what came of it."""

    what: str
    session: str
    text: str | None = None
    """The input, if it is one."""
    how: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        told = self.error if self.error is not None else getattr(self.result, "status", self.result)
        return f"{self.what}({self.session}, {self.text}, {dict(self.how)}) -> {told!r:.160}"


Act: TypeAlias = Callable[[StatefulAgentLoop, Attempt], Awaitable[Any]]


class Flag:
    """A stop event that is set once it was asked so often."""

    def __init__(self, after: int) -> None:
        self._left = after

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0

    def __repr__(self) -> str:
        return "Flag()"


async def send(loop: StatefulAgentLoop, it: Attempt) -> StatefulResult:
    assert it.text is not None
    return await loop.send(it.text, it.session, **it.how)


async def stream(loop: StatefulAgentLoop, it: Attempt) -> StatefulResult | None:
    assert it.text is not None
    async with aclosing(loop.stream(it.text, it.session, **it.how)) as events:
        async for event in events:
            if isinstance(event, StatefulResult):
                return event
    return None


async def leave_stream(loop: StatefulAgentLoop, it: Attempt) -> None:
    """Stop listening after the first event."""
    assert it.text is not None
    async with aclosing(loop.stream(it.text, it.session, **it.how)) as events:
        async for _ in events:
            break


async def resume(loop: StatefulAgentLoop, it: Attempt) -> StatefulResult:
    return await loop.resume(it.session, **it.how)


async def recover(loop: StatefulAgentLoop, it: Attempt) -> list[Any]:
    return await loop.recover(**it.how)


async def resolve(loop: StatefulAgentLoop, it: Attempt) -> None:
    for call in await loop.get_pending(it.session):
        await loop.resolve(it.session, call.id, report=True)


async def look(loop: StatefulAgentLoop, it: Attempt) -> None:
    """Every read checks what it reads."""
    await loop.get_session(it.session)
    await loop.get_messages(it.session, include_compacted=True)
    await loop.get_calls(it.session)
    await loop.get_turns(it.session)
    await loop.get_usage(it.session)
    await loop.get_pending(it.session)


async def die(loop: StatefulAgentLoop, it: Attempt) -> None:
    """What a process that ends leaves: turns that are live, and an owner that is dead."""
    await (await loop._open()).store.aclose()


ACTS: Final[Mapping[str, Act]] = {
    "send": send,
    "stream": stream,
    "leave_stream": leave_stream,
    "resume": resume,
    "abort": lambda loop, it: loop.abort_pending(it.session, **it.how),
    "stop": lambda loop, it: loop.request_stop(it.session),
    "recover": recover,
    "resolve": resolve,
    "look": look,
    "create": lambda loop, it: loop.create_session(it.session),
    "archive": lambda loop, it: loop.archive_session(it.session),
    "bring back": lambda loop, it: loop.archive_session(it.session, archived=False),
    "close": lambda loop, it: loop.close_session(it.session),
    "delete": lambda loop, it: loop.delete_session(it.session),
    "leave": lambda loop, it: loop.aclose(**it.how),
    "die": die,
}
INPUTS: Final = ("send", "stream", "leave_stream")
OFTEN: Final = {
    "send": 10, "stream": 3, "leave_stream": 1, "resume": 5, "abort": 3, "stop": 2, "recover": 3, "resolve": 1,
    "look": 1, "create": 1, "archive": 1, "bring back": 1, "close": 1, "delete": 1, "leave": 1, "die": 1,
}  # fmt: skip


class Play:
    """One schedule: `begin` opens everything, `act` has all callers act, `end` closes what is left."""

    def __init__(self, seed: int, path: Path, loop: ShuffledLoop) -> None:
        self.chance = chance = random.Random(f"scenario {seed}")
        self.path = path
        self.account = Account(random.Random(f"account {seed}"))
        self.attempts: list[Attempt] = []
        self.struck: set[asyncio.Task[None]] = set()
        self.loops: list[StatefulAgentLoop] = []
        self.mortal = chance.random() < 0.25
        """One store dies among turns, and several loops recover what it leaves."""
        self._dead = asyncio.Event()
        self.stores: list[SessionStore] = []
        self.sessions = [f"s{number}" for number in range(chance.choice((1, 1, 1, 2, 3)))]
        self.config = AgentLoopConfig(
            synchronous="NORMAL",
            busy_timeout=0.0,
            max_rounds=chance.choice((1, 24, 24, 24)),
            context_window=chance.choice((700, 100_000, 100_000)),
            warm_sessions=chance.choice((0, 1, 256)),
            in_doubt=chance.choice(("report", "report", "ask")),  # type: ignore[arg-type]
        )
        self._loop = loop
        self._ids = count(1)
        self._moments = count(1)
        self._texts = count(1)

    def world(self) -> World:
        return World(
            now=lambda: SINCE + timedelta(microseconds=next(self._moments)),
            new_id=lambda: f"{next(self._ids):08}",
            monotonic=self._loop.time,
        )

    def a_loop(self, store: SessionStore) -> StatefulAgentLoop:
        return StatefulAgentLoop(
            llm=model(self.account), store=store, tools=tools(self.account), config=self.config, world=self.world()
        )

    async def begin(self) -> None:
        for _ in range(self.chance.choice((2, 3) if self.mortal else (1, 1, 2, 2, 3))):
            self.stores.append(await open_store(self.path, synchronous="NORMAL", busy_timeout=0, world=self.world()))
        self.loops = [self.a_loop(store) for store in self.stores for _ in range(self.chance.choice((1, 1, 2)))]
        for session in self.sessions:
            await self.loops[0].create_session(session)

    async def act(self) -> None:
        """Everybody at once; some are cancelled, each at a step of its own."""
        callers = [self._caller(number, self._acts()) for number in range(self.chance.randint(2, 9))]
        if self.mortal:
            first, *others = self.loops
            callers += [asyncio.create_task(self._call(first, [self._attempt("send")])) for _ in self.sessions]
            callers += [asyncio.create_task(self._die(first))]
            callers += [asyncio.create_task(self._recover(loop)) for loop in others]
        await asyncio.wait(callers)

    async def _die(self, loop: StatefulAgentLoop) -> None:
        for _ in range(self.chance.randint(10, 120)):
            await asyncio.sleep(0)
        await self._call(loop, [self._attempt("die")])
        self._dead.set()

    async def _recover(self, loop: StatefulAgentLoop) -> None:
        await self._dead.wait()
        await self._call(loop, [self._attempt("recover")])

    def _acts(self) -> list[Attempt]:
        often = {what: share for what, share in OFTEN.items() if not (self.mortal and what in ("die", "leave"))}
        return [
            self._attempt(*self.chance.choices(list(often), list(often.values())))
            for _ in range(self.chance.choice((1, 1, 2, 3)))
        ]

    def _caller(self, number: int, acts: Sequence[Attempt]) -> asyncio.Task[None]:
        loop = self.chance.choice(self.loops)
        caller = asyncio.create_task(self._call(loop, acts), name=f"caller {number}")
        if self.chance.random() < 0.3:
            self._loop.at_step[self._loop.steps + self.chance.randint(1, LATEST_STRIKE)] = partial(self._strike, caller)
        return caller

    def _strike(self, caller: asyncio.Task[None]) -> None:
        if caller.cancel():
            self.struck.add(caller)

    async def _call(self, loop: StatefulAgentLoop, acts: Sequence[Attempt]) -> None:
        for it in acts:
            self.attempts.append(it)
            try:
                it.result = await ACTS[it.what](loop, it)
            except BaseException as error:
                it.error = error
                if not isinstance(error, Exception):
                    raise

    def _attempt(self, what: str) -> Attempt:
        chance = self.chance
        session = chance.choice(self.sessions)
        how: dict[str, Any] = {}
        text = None
        if what in INPUTS:
            text = f"{session} input {next(self._texts)}"
            busy = "steer" if chance.random() < 0.2 else self._busy()
            how = {"on_pending": chance.choice(("raise", "resume", "abort")), "if_busy": busy}
            if chance.random() < 0.3:
                request = how["request_id"] = f"request {chance.randint(1, 3)}"
                text = f"{session} for {request}"
            if chance.random() < 0.1:
                how["stop_event"] = Flag(chance.randint(0, 6))
        elif what == "resume":
            how = {"if_busy": self._busy(), "force": chance.random() < 0.3}
        elif what == "abort":
            how = {"force": chance.random() < 0.3}
        elif what == "recover":
            how = {"policy": chance.choice(("report", "resume", "abort"))}
        elif what == "leave":
            how = {"drain": chance.choice((0, 0, 0.05))}
        return Attempt(what=what, session=session, text=text, how=how)

    def _busy(self) -> str:
        return self.chance.choice(("wait", "wait", "raise"))

    async def end(self) -> None:
        for loop in self.loops:
            await loop.aclose()
        for store in self.stores:
            await store.aclose()


def told(attempts: Sequence[Attempt]) -> str:
    return json.dumps([str(it) for it in attempts], indent=1)
