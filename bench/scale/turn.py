"""The turn everybody runs, with a model in process that costs nothing; and databases filled by running it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench import conversation as c
from llm_client.messages import AssistantMessage, ToolCall
from llm_client.service import Answer, ChatRequest, StreamEvent, Usage
from power_loop import AgentLoopConfig, StatefulAgentLoop, Tool, tool
from power_loop.store import SessionStore

Synchronous = Literal["FULL", "NORMAL"]
MESSAGES_A_TURN: Final = 5
USAGE: Final = Usage(prompt_tokens=40, completion_tokens=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """The texts of a turn: user, answer with two parallel calls, two results, final answer."""

    question: str
    thought: str | None
    """What the answer says beside its calls."""
    result: str
    answer: str


STANDARD: Final = Talk(question=c.question(1), thought=None, result=c.weather("Lisbon"), answer=c.ANSWER)
"""1.2 KB a turn."""

_LONGER: Final = (c.ANSWER + " ") * 5
LONG: Final = Talk(question=_LONGER[:970], thought=_LONGER[:700], result=_LONGER[:950], answer=_LONGER[:970])
"""About 1 KB a message."""

TALKS: Final = {"standard": STANDARD, "long": LONG}


class InstantModel:
    """An `LLMService` that answers at once: it looks at the last message alone."""

    model = c.MODEL
    replay_reasoning = False

    def __init__(self, talk: Talk = STANDARD) -> None:
        calls = tuple(ToolCall(id=f"call_{n}", name=name, arguments=text) for n, (name, text) in enumerate(c.CALLS))
        self._asks = _answer(AssistantMessage(content=talk.thought, tool_calls=calls), "tool_calls")
        self._says = _answer(AssistantMessage(content=talk.answer), "stop")

    async def complete(self, request: ChatRequest) -> Answer:
        return self._says if request.messages[-1].startswith('{"role":"tool"') else self._asks

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamEvent]:
        yield await self.complete(request)

    async def aclose(self) -> None:
        return None


def _answer(message: AssistantMessage, reason: str) -> Answer:
    return Answer(message=message, finish_reason=reason, usage=USAGE, model=c.MODEL)


def forecast_of(talk: Talk = STANDARD) -> Tool:
    """The tool of the turn: it reads, two at a time, and always finds the same."""

    @tool(effect="read", parallel=True)
    async def forecast(city: str, days: int, unit: str) -> str:
        """The weather of the coming days in a city."""
        return talk.result

    return forecast


def loop_over(
    where: Path | str | SessionStore,
    *,
    synchronous: Synchronous = "FULL",
    warm: int = 256,
    talk: Talk = STANDARD,
    llm: Any = None,
    tools: Sequence[Tool] | None = None,
    **options: Any,
) -> StatefulAgentLoop:
    """A loop that folds nothing, with the model and the tool of the turn unless others are given."""
    config = AgentLoopConfig(synchronous=synchronous, context_window=1_000_000_000, warm_sessions=warm)
    place: dict[str, Any] = {"db_path": where} if isinstance(where, str | os.PathLike) else {"store": where}
    return StatefulAgentLoop(
        llm=llm or InstantModel(talk),
        tools=[forecast_of(talk)] if tools is None else tools,
        config=config,
        **place,
        **options,
    )


async def fill(database: str, sessions: int, turns: int, talk: str = "standard", at_once: int = 100) -> int:
    """Make a database of sessions `s0`, `s1`, ... by sending, NORMAL, and close it; its bytes, the log folded in."""
    texts = TALKS[talk]
    numbers = iter(range(sessions))
    async with loop_over(database, synchronous="NORMAL", talk=texts) as loop:

        async def worker() -> None:
            for number in numbers:
                session = await loop.create_session(f"s{number}")
                for _ in range(turns):
                    await loop.send(texts.question, session)

        await asyncio.gather(*(worker() for _ in range(min(at_once, sessions))))
    return _closed_size(Path(database))


def _closed_size(database: Path) -> int:
    left = [end for end in ("-wal", "-journal") if Path(f"{database}{end}").exists()]
    assert not left, f"{left} were left after closing"
    return database.stat().st_size
