"""Who runs the turn. Each is entered, runs turns on numbered sessions, one after the other or many at once, and left.

`durable` says what is on disk before the next effect: "each step" (flushed), "no".
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from bench import conversation as c
from llm_client.messages import UserMessage, wire
from llm_client.service import Answer, ChatRequest
from power_loop import AgentLoopConfig, NullSink, OpenAIChatService, StatefulAgentLoop, ToolRegistry
from power_loop.engine.facts import NewMessage
from power_loop.engine.limits import Limits
from power_loop.engine.turns import TurnState
from power_loop.loop.drive import drive
from power_loop.loop.reopen import Warm, kept, reopen
from power_loop.loop.stop import StopSignal
from power_loop.loop.turn import Gear
from power_loop.sink import TeeSink
from power_loop.store.contract import Begun, Claim
from power_loop.transcript.view import Entry, View
from power_loop.values import SessionId, World

CONFIG = {"context_window": 1_000_000_000, "warm_sessions": 1_000}
"""Nothing is folded while we measure."""


class Timed:
    """An `LLMService` that keeps the time its requests took: the client's share of a turn."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.model: str = inner.model
        self.replay_reasoning: bool = inner.replay_reasoning
        self.spent = 0.0

    async def complete(self, request: ChatRequest) -> Answer:
        begun = perf_counter()
        try:
            answer: Answer = await self._inner.complete(request)
            return answer
        finally:
            self.spent += perf_counter() - begun

    def stream(self, request: ChatRequest) -> Any:
        return self._inner.stream(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def model(url: str | None) -> Timed:
    """The model in process, or over HTTP through the package's own client."""
    if url is None:
        return Timed(c.InProcessModel())
    return Timed(OpenAIChatService(model=c.MODEL, base_url=url, api_key="bench"))


class Subject:
    name = ""
    durable = "no"

    def __init__(self, folder: Path, url: str | None, history: int = 0, sessions: int = 1) -> None:
        """The first `sessions` have `history` messages already; others are new."""
        self.folder, self.url, self.history, self.sessions = folder, url, history, sessions
        self.turns = 0

    @property
    def _old(self) -> range:
        return range(self.sessions if self.history else 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def turn(self, session: int) -> None:
        raise NotImplementedError

    @property
    def client_seconds(self) -> float | None:
        """What the model's client has taken so far, where it can be told apart."""
        return None

    @property
    def commits(self) -> int | None:
        return None


class Ours(Subject):
    """`StatefulAgentLoop` as it comes: WAL, synchronous=FULL."""

    name = "power-loop"
    durable = "each step"
    synchronous = "FULL"

    async def __aenter__(self) -> Self:
        self._model = model(self.url)
        config = AgentLoopConfig(synchronous=self.synchronous, **CONFIG)  # type: ignore[arg-type]
        path = self.folder / f"{type(self).__name__}-{self.history}-{id(self)}.db"
        if self.history:
            shutil.copyfile(await filled(self.folder, self.history, self.sessions), path)
        self._loop = StatefulAgentLoop(llm=self._model, db_path=path, tools=c.tools(), config=config)
        self._known = set(self._old)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._loop.aclose()
        await self._model.aclose()

    async def turn(self, session: int) -> None:
        if session not in self._known:
            self._known.add(session)
            await self._loop.create_session(f"s{session}")
        self.turns += 1
        await self._loop.send(c.question(self.turns), f"s{session}")

    @property
    def client_seconds(self) -> float | None:
        return self._model.spent

    @property
    def commits(self) -> int | None:
        store: Any = self._loop._opening.result().store if self._loop._opening else None
        return None if store is None else int(store.commits)


class OursNormal(Ours):
    name = "power-loop, NORMAL"
    durable = "each step, not through a power cut"
    synchronous = "NORMAL"


class OursNoStore(Subject):
    """The same turn through `NullSink`: the loop without its store."""

    name = "power-loop, NullSink"

    async def __aenter__(self) -> Self:
        self._model = model(self.url)
        config = AgentLoopConfig(**CONFIG)  # type: ignore[arg-type]
        self._gear = Gear(llm=self._model, tools=ToolRegistry.of(c.tools()), config=config, world=World())
        self._warm: dict[int, tuple[Warm, int]] = {}
        for session in self._old:
            self._warm[session] = (_warm_of(self.history), self.history + 1)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._model.aclose()

    async def turn(self, session: int) -> None:
        self.turns += 1
        await asyncio.create_task(self._turn(session, c.question(self.turns)))

    async def _turn(self, session: int, text: str) -> None:
        warm, seq = self._warm.get(session) or (
            Warm(key=session, epoch=0, view=View(), context_tokens=0, may_fold=True),
            1,
        )
        number = warm.epoch + 1
        begun = Begun(
            claim=Claim(key=session, session=SessionId(f"s{session}"), epoch=number, turn=number),
            origin=number,
            state=TurnState.ASKING,
            next_seq=seq + 1,
            active=len(warm.view) + 1,
            added=(NewMessage(seq=seq, role="user", body=wire(UserMessage(content=text))),),
            was=warm.epoch,
            rounds=0,
            tool_calls=0,
            calls=(),
            model=None,
        )
        turn = reopen(
            begun,
            warm,
            gear=self._gear,
            limits=Limits.of(self._gear.config),
            sink=TeeSink(NullSink()),
            stop=StopSignal(),
            listener=None,
        )
        await drive(turn)
        self._warm[session] = (kept(turn, begun.claim), turn.next_seq)

    @property
    def client_seconds(self) -> float | None:
        return self._model.spent


class RawSqlite(Subject):
    """The floor of durability: one INSERT, one commit a message, in the thread that asks."""

    name = "raw sqlite3, a commit a message"
    durable = "each step"

    async def __aenter__(self) -> Self:
        self._messages = [(json.loads(text)["role"], text) for text in c.stored_turn(0)]
        self._db = sqlite3.connect(self.folder / f"raw-{id(self)}.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            "CREATE TABLE messages (session INTEGER, seq INTEGER, role TEXT, body TEXT, PRIMARY KEY (session, seq))"
        )
        self._commits = 0
        return self

    async def __aexit__(self, *error: object) -> None:
        self._db.close()

    async def turn(self, session: int) -> None:
        for role, body in self._messages:
            self._write(session, role, body)
            await asyncio.sleep(0)

    def _write(self, session: int, role: str, body: str) -> None:
        self._commits += 1
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (session, self._commits, role, body))

    @property
    def commits(self) -> int | None:
        return self._commits


class RawSqliteHttp(RawSqlite):
    """The same, and between them the two requests with ready bytes through the bare client."""

    name = "raw sqlite3 and the client's post"

    async def __aenter__(self) -> Self:
        self._client = Post(self.folder, self.url, self.history)
        await self._client.__aenter__()
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__()
        await super().__aexit__()

    async def turn(self, session: int) -> None:
        await self._client.turn(session, keep=lambda role, body: self._write(session, role, body))


class Typed(Subject):
    """The bare openai client as its documentation shows it: a list of messages, `chat.completions.create`."""

    name = "openai client, typed method"

    async def __aenter__(self) -> Self:
        import openai

        self._client = openai.AsyncOpenAI(api_key="bench", base_url=self.url, max_retries=0)
        self._tools: Any = [json.loads(tool.spec) for tool in c.tools()]
        self._sessions: dict[int, list[Any]] = {}
        for session in self._old:
            self._sessions[session] = [json.loads(text) for text in _texts(self.history)]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def turn(self, session: int) -> None:
        self.turns += 1
        messages = self._sessions.setdefault(session, [])
        messages.append({"role": "user", "content": c.question(self.turns)})
        while True:
            answer = await self._client.chat.completions.create(model=c.MODEL, messages=messages, tools=self._tools)
            said = answer.choices[0].message
            messages.append(said.model_dump(exclude_none=True))
            if not said.tool_calls:
                return
            results = await asyncio.gather(
                *(c.forecast.function(**json.loads(call.function.arguments)) for call in said.tool_calls)  # type: ignore[union-attr]
            )
            for call, result in zip(said.tool_calls, results, strict=True):
                messages.append({"role": "tool", "content": result, "tool_call_id": call.id})


class Post(Subject):
    """The bare openai client's low-level call with bytes joined from JSON texts."""

    name = "openai client, post with ready bytes"

    async def __aenter__(self) -> Self:
        import httpx2
        import openai

        self._client = openai.AsyncOpenAI(api_key="bench", base_url=self.url, max_retries=0)
        self._cast: Any = httpx2.Response
        self._tools = ",".join(tool.spec for tool in c.tools())
        self._sessions: dict[int, list[str]] = {}
        for session in self._old:
            self._sessions[session] = _texts(self.history)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def turn(self, session: int, keep: Callable[[str, str], None] | None = None) -> None:
        self.turns += 1
        messages = self._sessions.setdefault(session, [])

        def add(message: dict[str, Any]) -> None:
            text = json.dumps(message)
            if keep is not None:
                keep(message["role"], text)
            messages.append(text)

        add({"role": "user", "content": c.question(self.turns)})
        while True:
            body = f'{{"model":"{c.MODEL}","messages":[{",".join(messages)}],"tools":[{self._tools}]}}'
            answer = await self._client.post(
                "/chat/completions",
                cast_to=self._cast,
                content=body.encode(),
                options={"headers": {"Content-Type": "application/json"}},
            )
            said = json.loads(answer.content)["choices"][0]["message"]
            add(said)
            calls = said.get("tool_calls")
            if not calls:
                return
            results = await asyncio.gather(
                *(c.forecast.function(**json.loads(call["function"]["arguments"])) for call in calls)
            )
            for call, result in zip(calls, results, strict=True):
                add({"role": "tool", "content": result, "tool_call_id": call["id"]})


async def filled(folder: Path, messages: int, sessions: int) -> Path:
    """A database with sessions s0, s1, ... of so many messages, grown by running turns; made once a folder."""
    path = folder / f"filled-{messages}-{sessions}.db"
    if path.exists():
        return path
    config = AgentLoopConfig(synchronous="NORMAL", **CONFIG)  # type: ignore[arg-type]
    new = path.with_suffix(".new")
    async with StatefulAgentLoop(llm=c.InProcessModel(), db_path=new, tools=c.tools(), config=config) as loop:
        for session in range(sessions):
            await loop.create_session(f"s{session}")
            for number in range(-(-messages // c.MESSAGES_A_TURN)):
                await loop.send(c.question(number), f"s{session}")
    return new.rename(path)  # closed: nothing is left in its log


def _texts(messages: int) -> list[str]:
    turns = -(-messages // c.MESSAGES_A_TURN)
    return [text for number in range(turns) for text in c.stored_turn(number)]


def _warm_of(messages: int) -> Warm:
    entries = []
    for seq, text in enumerate(_texts(messages), start=1):
        role = json.loads(text)["role"]
        calls = len(c.CALLS) if '"tool_calls"' in text else 0
        entries.append(Entry(place=seq, seq=seq, role=role, wire=text, calls=calls))
    return Warm(key=1, epoch=0, view=View(entries), context_tokens=0, may_fold=True)
