"""A turn that passes every point, over a real file and a real server: two calls, one of which fails, and a fold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from power_loop import AgentLoopConfig, Hooks, StatefulAgentLoop, Status, Tool, World, tool
from power_loop import hooks as h
from power_loop.compaction.strategies import SlidingWindow
from power_loop.store.sqlite.doctor import Grade, examine
from power_loop.testing import Asked, Reply, ScriptedServer
from tests.loop.kit import history_is_valid, output_of, python, service

WINDOW: Final[dict[str, Any]] = {"context_window": 1000, "compact_at": 0.8, "compaction": SlidingWindow(turns=1)}
PLACED: Final[dict[str, tuple[h.Point[Any, Any], str | None]]] = {
    **{point.name: (point, None) for point in h.POINTS if point is not h.MESSAGE_APPEND},
    **{f"MESSAGE_APPEND {role}": (h.MESSAGE_APPEND, role) for role in ("assistant", "tool", "user")},
}
"""The points that a turn passes, by name, and the role of the message. A note of `MEMORY_RECALL` is the `user`'s."""
BEFORE: Final = "a long story about nothing much, told twice. " * 10
FULL: Final = {"prompt_tokens": 900, "completion_tokens": 10, "total_tokens": 910}
SMALL: Final = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}

DIES = """
import asyncio, os, sys
from llm_client.scripted import ScriptedLLM, calls
from power_loop import StatefulAgentLoop, tool

# Arguments: folder, whether the process dies in its calls or before, what was said before.
folder, where, before = sys.argv[1:]

async def die(request):
    while len(await loop.get_turns("s")) < 2:  # the model is asked while the input is on its way to the disk
        await asyncio.sleep(0.001)
    os._exit(0)

@tool(effect="read")
async def look(where: str = "here") -> str:
    "Looks."
    os._exit(0)

@tool(effect="read")
async def breaks() -> str:
    "Breaks."
    await asyncio.Event().wait()

async def main():
    global loop
    turn = [calls(("look", {}), ("breaks", {}))] if where == "calls" else [die]
    llm = ScriptedLLM(["heard", *turn])
    loop = StatefulAgentLoop(llm=llm, db_path=f"{folder}/agent.db", tools=[look, breaks])
    await loop.create_session("s")
    await loop.send(before, "s")
    await loop.send("hello", "s")

asyncio.run(main())
"""


def model(asked: Asked) -> Reply:
    """What it says depends on the request alone."""
    if asked.last == "tool":
        return Reply(text="done", usage=SMALL)
    if asked.last_user_text in (BEFORE, "next"):
        return Reply(text="heard", usage=SMALL)
    calls = Reply.calling(("look", {}), ("breaks", {})).calls
    return Reply(text="I look", calls=calls, usage=FULL)


@dataclass
class Stage:
    loop: StatefulAgentLoop
    server: ScriptedServer
    folder: Path
    looked: list[str]
    """Where the tool looked."""
    broken: list[int]
    """The attempts of the call that fails."""

    async def results(self) -> list[tuple[str, str]]:
        """State and text of the result of each call, of those that have one."""
        messages = {message.seq: message.text for message in await self.loop.get_messages("s", include_compacted=True)}
        return [
            (str(call.state), "" if call.result_seq is None else messages[call.result_seq])
            for call in await self.loop.get_calls("s")
        ]

    async def texts(self) -> list[str]:
        """Role and text of each message, folded or not."""
        stored = await self.loop.get_messages("s", include_compacted=True)
        return [f"{message.role}: {message.text}" for message in stored]

    async def goes_on(self) -> None:
        """Whatever happened, the history is valid, the next input is answered, and the file is sound."""
        if not await self.loop.get_pending("s"):
            assert await history_is_valid(self.loop, "s")
        result = await self.loop.send("next", "s", on_pending="resume")
        assert (result.status, result.final_text) == (Status.COMPLETED, "heard")
        assert await history_is_valid(self.loop, "s")
        assert self.server.refusals == []


@asynccontextmanager
async def staged(
    folder: Path,
    hooks: Hooks,
    *,
    script: Any = model,
    more: tuple[Tool, ...] = (),
    world: World | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    looked: list[str] = []
    broken: list[int] = []

    @tool(effect="read")
    async def look(where: str = "here") -> str:
        """Looks."""
        looked.append(where)
        return f"seen {where}"

    @tool(effect="read")
    async def breaks() -> str:
        """Breaks."""
        broken.append(1)
        raise LookupError("broken")

    with ScriptedServer(script) as server:
        loop = StatefulAgentLoop(
            llm=service(server),
            db_path=folder / "agent.db",
            tools=[look, breaks, *more],
            hooks=hooks,
            world=world,
            config=AgentLoopConfig(**{**WINDOW, **settings}),
        )
        async with loop:
            yield Stage(loop, server, folder, looked, broken)
    assert [str(found) for found in examine(folder / "agent.db") if found.grade is Grade.BAD] == []


async def dead(folder: Path, where: str) -> None:
    """A session whose process died: in its `calls`, or while it asked the `model`."""
    folder.mkdir()
    assert await output_of(python(DIES, folder, where, BEFORE)) == ""
