"""An app whose process the tests end: `python -m tests.crash.agent MODE DATABASE URL LEDGER`.

It says on its output where it is; whoever reads that decides what happens next.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from power_loop import OpenAIChatService, StatefulAgentLoop, Tool, ToolContext, tool
from power_loop.testing import Asked, Reply
from power_loop.testing.crash.place import append, lines

SESSION: Final = "app/1"
NAMES: Final = ("first", "second", "third")
CALLS: Final = tuple((name, {"amount": number}) for number, name in enumerate(NAMES, 1))


def model(asked: Asked) -> Reply:
    """Asks for three calls, then is done; "chat" gets an answer, "hang" none."""
    if asked.last == "tool":
        return Reply.says("All done.")
    match asked.last_user_text:
        case "work":
            return Reply.calling(*CALLS)
        case "hang":
            return Reply.says("never").with_fault("hang")
    return Reply.says(f"Heard: {asked.last_user_text}")


def tools(ledger: Path, wait: Callable[[], Awaitable[None]] | None = None, **options: Any) -> Sequence[Tool]:
    """Three `once` tools, one after the other. The second says that it is running, and waits if it is told to."""

    async def note(name: str, amount: int, context: ToolContext) -> str:
        append(ledger, {"tool": name, "key": context.idempotency_key, "attempt": context.attempt})
        if name == "second" and wait is not None:
            say("in second")
            await wait()
        return f"{name} {amount} done"

    @tool
    async def first(amount: int, context: ToolContext) -> str:
        return await note("first", amount, context)

    @tool(**options)
    async def second(amount: int, context: ToolContext) -> str:
        return await note("second", amount, context)

    @tool
    async def third(amount: int, context: ToolContext) -> str:
        return await note("third", amount, context)

    return [first, second, third]


def blocking(ledger: Path) -> Sequence[Tool]:
    """The second tool is a plain function in a thread, and deaf for a second."""

    @tool
    def second(amount: int, context: ToolContext) -> str:
        append(ledger, {"tool": "second", "key": context.idempotency_key, "attempt": context.attempt})
        say("in second")
        time.sleep(1)
        return f"second {amount} done"

    first, _, third = tools(ledger)
    return [first, second, third]


def entered(ledger: Path) -> list[str]:
    """The tools whose functions were entered, in order."""
    return [line["tool"] for line in lines(ledger)]


def app(database: Path, url: str, tools: Sequence[Tool] = (), **settings: Any) -> StatefulAgentLoop:
    llm = OpenAIChatService(model="scripted", base_url=url, api_key="key", attempts=1)
    return StatefulAgentLoop(llm=llm, db_path=database, tools=tools, **settings)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _chat(loop: StatefulAgentLoop) -> None:
    await loop.create_session(SESSION)
    say((await loop.send("hello", SESSION)).final_text)


async def _chat_and_leave(loop: StatefulAgentLoop, inside: asyncio.Event) -> None:
    """Return while another turn still runs."""
    await _chat(loop)
    left = asyncio.create_task(loop.send("work", SESSION))
    await inside.wait()
    assert not left.done()


async def _until_ended(loop: StatefulAgentLoop, text: str) -> None:
    await loop.create_session(SESSION)
    await loop.send(text, SESSION)


def main(mode: str, database: Path, url: str, ledger: Path) -> None:
    inside = asyncio.Event()

    async def stay() -> None:
        inside.set()
        await asyncio.Event().wait()

    waiting = tools(ledger, stay)
    match mode:
        case "run":
            asyncio.run(_chat(app(database, url)))
        case "bare loop":
            asyncio.new_event_loop().run_until_complete(_chat(app(database, url)))
        case "leave":
            asyncio.run(_chat_and_leave(app(database, url, waiting), inside))
        case "global":
            globals()["kept"] = kept = app(database, url)
            asyncio.run(_chat(kept))
        case "in the model":
            asyncio.run(_until_ended(app(database, url), "hang"))
        case "in a tool":
            asyncio.run(_until_ended(app(database, url, waiting), "work"))
        case "in a thread":
            asyncio.run(_until_ended(app(database, url, blocking(ledger)), "work"))
        case _:
            raise SystemExit(f"no mode {mode!r}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
