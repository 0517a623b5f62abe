"""`Client`: one process of the app under test, as its scenario sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from power_loop.config import AgentLoopConfig
from power_loop.errors import CallSettledError, EpochLostError, SessionExistsError
from power_loop.stateful_loop import StatefulAgentLoop, StatefulResult, inputs
from power_loop.store.records import WaitInfo
from power_loop.testing.crash.place import Line, Place, append, lines
from power_loop.testing.crash.remote import FakeRemote
from power_loop.testing.crash.watching import WatchedModel, watched
from power_loop.tools import ToolRegistry
from power_loop.values import World

People: TypeAlias = Callable[[StatefulAgentLoop, WaitInfo], Awaitable[object]]
"""Says `approve`, `deny` or `submit_results(..., go_on=False)` of a call that waits."""


class ScenarioError(Exception):
    """The scenario itself is wrong: nothing can be said about the app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What an app knows for certain: the outcome it was told, now or before it died."""

    session: str
    request: str
    turn: int
    status: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What a scenario builds its loop from, and sends through."""

    place: Place
    number: int = 0
    """Which of the scenario's processes this is, from 0. A process that goes on after a death has the same number."""
    process: str
    """This process, for what it notes."""
    reached: Callable[[str], None]
    url: str = ""
    """The model server's, if the scenario has one."""
    prepared: Any = None
    """What the scenario's `prepare` gave."""
    on_pending: Any = "raise"
    """What sends do about open calls unless they say."""

    @property
    def name(self) -> str:
        return f"client-{self.number}"

    @property
    def db_path(self) -> Path:
        return self.place.database

    @property
    def world(self) -> World:
        """For the loop: `StatefulAgentLoop(world=client.world, ...)`."""
        return World(reached=self.reached)

    @property
    def remote(self) -> FakeRemote:
        """The service that tools have their effects in."""
        return FakeRemote(self.place.remote, self.reached)

    async def create(self, loop: StatefulAgentLoop, session: str, **options: Any) -> None:
        """Make a session, as a client does that may have died after an earlier try; the acknowledgement is noted."""
        if self._heard(session, None) is None:
            append(self.place.sent, {"event": "creating", "session": session})
            with suppress(SessionExistsError):
                await loop.create_session(session, **options)
            append(self.place.sent, {"event": "heard", "session": session, "request": None})

    async def send(
        self,
        loop: StatefulAgentLoop,
        text: inputs.UserInput,
        session: str | None = None,
        *,
        request_id: str,
        stream: bool = False,
        **options: Any,
    ) -> Acknowledged:
        """Send an input under its request id and note the acknowledgement before anything else happens.

        What was acknowledged before, to this process or one that died, is not sent again: the note is given back.
        `stream` goes through `loop.stream`; `options` are those of `loop.send`.

        Raises:
            ...: whatever `loop.send` raises.
        """
        known = self._heard(session, request_id)
        if known is not None:
            return _acknowledged(known)
        about: Line = {"session": session, "request": request_id, "by": self.process}
        about["steered"] = options.get("if_busy") == "steer"
        append(self.place.sent, {"event": "sending", "input": inputs.user_message(text), **about})
        settings = {"request_id": request_id, "on_pending": self.on_pending, **options}
        try:
            result = await (_streamed if stream else _sent)(loop, text, session, settings)
        except (EpochLostError, asyncio.CancelledError) as error:
            append(self.place.sent, {"event": "lost", "error": type(error).__name__, **about})
            raise
        said = {
            "at": result.session_id, "turn": result.turn, "status": result.status, "text": result.final_text,
        }  # fmt: skip
        append(self.place.sent, {"event": "heard", **about, **said})
        return _acknowledged({**about, **said})

    async def decide(self, loop: StatefulAgentLoop, session: str) -> int:
        """Say of each `once` call in doubt, as a person would, that nobody knows what it did; how many there were."""
        doubts = [call for call in await loop.get_pending(session) if (call.state, call.effect) == ("in_doubt", "once")]
        for call in doubts:
            await loop.resolve(session, call.id, report=True)
        return len(doubts)

    async def attend(self, loop: StatefulAgentLoop, session: str, people: People) -> int:
        """Have people say their word about each call that waits; how many have one that is yet to be taken up."""
        for wait in await loop.get_waits(session, decided=False):
            with suppress(CallSettledError):  # another process, whose sessions we were robbed of, went on meanwhile
                await people(loop, wait)
        return sum(call.decision is not None for call in await loop.get_pending(session))

    async def attended(self, loop: StatefulAgentLoop, session: str, people: People) -> None:
        """Have people decide, and go on, until nothing waits for them. Where sends give up what is open, so does this.

        Raises:
            ...: whatever `loop.resume` raises.
        """
        if self.on_pending == "abort":
            return
        while any(call.waits or call.decision for call in await loop.get_pending(session)):
            await self.attend(loop, session, people)
            try:
                await loop.resume(session)
            except (EpochLostError, asyncio.CancelledError) as error:
                about = {"session": session, "request": None, "by": self.process}
                append(self.place.sent, {"event": "lost", "error": type(error).__name__, **about})
                raise

    def as_number(self, number: int, **changes: Any) -> Self:
        """Another of the scenario's clients, in this process."""
        return replace(self, number=number, **changes)

    def bare(self, config: AgentLoopConfig | None) -> StatefulAgentLoop:
        """A loop without a model and without tools."""
        return StatefulAgentLoop(db_path=self.db_path, world=self.world, config=config)

    def instrumented(self, loop: StatefulAgentLoop) -> StatefulAgentLoop:
        """The app's loop, with the kit's eyes on its tools and its model.

        Raises:
            ScenarioError: it does not work on this client's file, or passes its crash points unseen.
        """
        if not isinstance(loop, StatefulAgentLoop):
            raise ScenarioError(f"build gave a {type(loop).__name__}; it must return a StatefulAgentLoop")
        if loop._db_path is None or Path(loop._db_path) != self.db_path:
            raise ScenarioError(f"the loop works on {loop._db_path}; build it with db_path=client.db_path")
        if loop._world.reached != self.reached:
            raise ScenarioError("nobody would see the loop pass its crash points; build it with world=client.world")
        if loop._llm is not None:
            loop._llm = WatchedModel(loop._llm, self.place.asked, self.process)
        policy = str(loop.config.in_doubt)
        loop.tools = ToolRegistry(watched(tool, self.place.runs, self.reached, policy) for tool in loop.tools)
        made = loop._recall
        loop._recall = lambda read, at_once: watched(made(read, at_once), self.place.runs, self.reached, policy)
        return loop

    def _heard(self, session: str | None, request: str | None) -> Line | None:
        return next(
            (
                line
                for line in lines(self.place.sent)
                if line["event"] == "heard" and (line["session"], line["request"]) == (session, request)
            ),
            None,
        )


def _acknowledged(line: Line) -> Acknowledged:
    return Acknowledged(
        session=line["at"], request=line["request"], turn=line["turn"], status=line["status"], text=line["text"]
    )


async def _sent(loop: StatefulAgentLoop, text: Any, session: str | None, settings: dict[str, Any]) -> StatefulResult:
    return await loop.send(text, session, **settings)


async def _streamed(
    loop: StatefulAgentLoop, text: Any, session: str | None, settings: dict[str, Any]
) -> StatefulResult:
    last: object = None
    async with aclosing(loop.stream(text, session, **settings)) as events:  # type: ignore[type-var]
        async for event in events:
            last = event
    if not isinstance(last, StatefulResult):
        raise AssertionError(f"the stream ended with {last!r} instead of the result")
    return last
