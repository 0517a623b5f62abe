"""A scenario a strategy, as `tests.crash.folding:summary`: history is folded on demand and by itself, and unfolded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from power_loop import AgentLoopConfig, SessionBusyError, StatefulAgentLoop, Tool, ToolContext, tool
from power_loop.compaction.strategies import ClearToolResults, SlidingWindow
from power_loop.compaction.words import STRATEGIES
from power_loop.errors import CompactionError, CompactionNotFoundError
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence

HERE: Final = "tests.crash.folding"
SESSION: Final = "the-session"
PINNED: Final = "Never forget this."
INPUTS: Final = ("look at a", "look at b", "look at c", "look at d")
LONG: Final = "as it should be, " * 20
NOTE: Final = "What was said before, in short."


def __getattr__(name: str) -> Scenario:
    """`summary`, `clear_tool_results`, ..., or `failing`: a summary that fails."""
    if name not in NAMES:
        raise AttributeError(name)
    return Scenario(build=partial(build, name), work=partial(work, name), check=partial(check, name))


def full_name(name: str) -> str:
    return f"{HERE}:{name}"


NAMES: Final = (*(name for name in STRATEGIES if name != "none"), "failing")


def settings(name: str) -> AgentLoopConfig:
    """A window that the last inputs fill, so that history is folded within a turn too."""
    smaller = {"clear_tool_results": ClearToolResults(keep=1), "sliding_window": SlidingWindow(turns=1)}
    ladder: Any = {"failing": "summary", **smaller}.get(name, name)
    return AgentLoopConfig(system_prompt="Be brief.", context_window=900, compaction=ladder, compact_to=0.5)


def build(name: str, client: Client) -> StatefulAgentLoop:
    @tool(effect="read")
    def look(what: str, context: ToolContext) -> str:
        client.remote.do("look", key=context.idempotency_key, what=what)
        return f"{what}: {LONG}"

    tools: list[Tool] = [look]
    return StatefulAgentLoop(
        llm=ScriptedModel(partial(model, name)),
        tools=tools,
        config=settings(name),
        db_path=client.db_path,
        world=client.world,
    )


def model(name: str, asked: Asked) -> Reply:
    """Its answer depends on the end of the history alone."""
    usage = {"prompt_tokens": len(asked.raw) // 4}
    if not asked.tools:
        return Reply(text=" " if name == "failing" else NOTE, usage=usage)
    if asked.last == "user" and asked.last_user_text.startswith("look at"):
        return Reply(calls=Reply.calling(("look", {"what": asked.last_user_text[-1]})).calls, usage=usage)
    return Reply(text=f"Heard: {asked.last_user_text}", usage=usage)


async def work(name: str, client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, PINNED, SESSION, request_id="pinned", pin=True)
    for text in INPUTS[:2]:
        await client.send(loop, text, SESSION, request_id=text)
    strategy = None if name == "failing" else settings(name).ladder
    if name != "failing":
        await _until_free(loop.compact, strategy)
        await client.send(loop, "and then", SESSION, request_id="and then")
        await _until_free(loop.undo_compaction)
    for text in INPUTS[2:]:
        await client.send(loop, text, SESSION, request_id=text)


async def _until_free(do: Any, strategy: Any = None) -> None:
    """Whoever recovers the session may be in it."""
    for _ in range(100):
        try:
            await (do(SESSION) if strategy is None else do(SESSION, strategy=strategy))
            return
        except SessionBusyError:
            continue
        except (CompactionError, CompactionNotFoundError):
            return  # it was done before the death: there is nothing more to fold, or to take back
    raise AssertionError("the session is never free")


def check(name: str, found: Evidence) -> Iterator[str]:
    """What must stay is there at every instant; every word that was ever said can still be read."""
    for session in found.sessions:
        messages, compactions = session.table("messages"), session.table("compactions")
        active = [row["body"] for row in messages if row["state"] == "active"]
        if not any("Be brief." in body for body in active):
            yield "the system prompt is gone"
        stored = [row for row in messages if PINNED in row["body"] and row["role"] == "user"]
        if stored and not any(row["state"] == "active" and row["pinned"] for row in stored):
            yield "what was pinned is gone"
        notes = [row for row in messages if row["note_of"] is not None and row["state"] == "active"]
        if sum(row["role"] == "user" for row in notes) > 1:
            yield f"{len(notes)} notes stand beside each other"
        if any(row["strategy"] != name for row in compactions if name != "failing" and row["strategy"] in STRATEGIES):
            yield f"compactions by {[row['strategy'] for row in compactions]}"
        if found.complete and not compactions and name != "failing":
            yield "nothing was ever folded"
