"""`StatefulAgentLoop` as it comes: WAL, synchronous=FULL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bench import conversation as c
from bench.peers import Peer

if TYPE_CHECKING:
    from llm_client.service import Answer, ChatRequest
    from llm_client.settings import Transport
    from power_loop import StatefulAgentLoop, Tool

CONFIG: Final = {"context_window": 1_000_000_000, "warm_sessions": 1_000}
"""Nothing is folded while we measure."""


class InProcessModel:
    """An `LLMService` that costs next to nothing: it looks at the last message alone."""

    model = c.MODEL
    replay_reasoning = False

    def __init__(self) -> None:
        from llm_client.messages import AssistantMessage, ToolCall
        from llm_client.service import Answer, Usage

        self._message, self._call, self._answer = AssistantMessage, ToolCall, Answer
        self._usage = Usage(prompt_tokens=40, completion_tokens=60)
        says = AssistantMessage(content=c.ANSWER)
        self._says = Answer(message=says, finish_reason="stop", usage=self._usage, model=c.MODEL)

    async def complete(self, request: ChatRequest) -> Answer:
        last = request.messages[-1]
        if last.startswith('{"role":"tool"'):
            if c.on_results is not None:
                c.after_results(last[last.index('"R') + 1 :])
            return self._says
        calls = tuple(self._call(id=key, name=name, arguments=text) for key, name, text in c.calls(c.number_in(last)))
        return self._answer(
            message=self._message(tool_calls=calls), finish_reason="tool_calls", usage=self._usage, model=c.MODEL
        )

    async def stream(self, request: ChatRequest) -> Any:
        yield await self.complete(request)

    async def aclose(self) -> None:
        return None


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


def model(url: str | None, transport: Transport = "httpx") -> Timed:
    """The model in process, or over HTTP through the package's own client."""
    if url is None:
        return Timed(InProcessModel())
    from power_loop import OpenAIChatService

    return Timed(OpenAIChatService(model=c.MODEL, base_url=url, api_key="bench", transport=transport))


def tools() -> list[Tool]:
    from power_loop import tool

    return [tool(effect="read", parallel=True)(c.forecast)]


def loop_at(path: Path, llm: Any, *, synchronous: str = "FULL") -> StatefulAgentLoop:
    from power_loop import AgentLoopConfig, StatefulAgentLoop

    config = AgentLoopConfig(**CONFIG, synchronous=synchronous)  # type: ignore[arg-type]
    return StatefulAgentLoop(llm=llm, db_path=path, tools=tools(), config=config)


async def fill(path: Path, histories: Sequence[int]) -> None:
    """A database with sessions s0, s1, ... of so many messages, grown by running turns; flushed at its close."""
    import asyncio

    async with loop_at(path, InProcessModel(), synchronous="NORMAL") as loop:

        async def grow(session: int, messages: int) -> None:
            await loop.create_session(f"s{session}")
            for number in range(-(-messages // c.MESSAGES_A_TURN)):
                await loop.send(c.question(number), f"s{session}")

        await asyncio.gather(*(grow(session, messages) for session, messages in enumerate(histories)))


class Ours(Peer):
    title = "power-loop"
    setting = "WAL, synchronous=FULL (its default)"
    equally_durable = True
    synchronous: ClassVar[str] = "FULL"
    transport: ClassVar[Transport] = "httpx"

    def load(self) -> None:
        from power_loop import OpenAIChatService

        at = "http://127.0.0.1:1/v1"
        OpenAIChatService(model=c.MODEL, base_url=at, api_key="bench", transport=self.transport)  # imports the client

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        path = folder / "ours.db"
        if histories and not path.exists():
            await fill(path, histories)
        self._model = model(url, self.transport)
        self._ids = {session: f"s{session}" for session in range(len(histories))}
        self._loop = loop_at(path, self._model, synchronous=self.synchronous)
        await self._loop.list_sessions(limit=1)  # opens it

    async def turn(self, session: int) -> None:
        done = await self._loop.send(c.question(self.next_number()), self._ids.get(session))
        self._ids[session] = done.session_id

    async def close(self) -> None:
        await self._loop.aclose()
        await self._model.aclose()

    @property
    def client_seconds(self) -> float | None:
        return self._model.spent

    @property
    def commits(self) -> int | None:
        store: Any = self._loop._opening.result().store if self._loop._opening else None
        return None if store is None else int(store.commits)


PEER = Ours

if __name__ == "__main__":  # PATH MESSAGES...: make a database to be copied, and nothing else
    import asyncio
    import sys

    asyncio.run(fill(Path(sys.argv[1]), list(map(int, sys.argv[2:]))))
