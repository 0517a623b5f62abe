"""`python -m tests.corpus.make`: write the database of today's schema into the corpus, once for each released schema.

A file that was released stays as it was written: run this only when a new migration has been added.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from llm_client.errors import ModelServerError
from llm_client.messages import AssistantMessage
from llm_client.scripted import ScriptedLLM, calls, says
from llm_client.service import ChatRequest, Usage
from power_loop import AgentLoopConfig, ModelError, StatefulAgentLoop, open_store, tool
from power_loop.rules import Move, Step, Steps, called
from power_loop.store.contract import Input
from power_loop.store.sqlite import migrating
from power_loop.values import SessionId

FOLDER: Final = Path(__file__).parent
BIG: Final = Usage(prompt_tokens=900, completion_tokens=50)


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    return f"saw {what} \N{SNOWMAN}"


@tool
def pay(amount: int) -> str:
    """Pay: the process dies while it runs."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@tool(approval="it is dear")
def order(what: str) -> str:
    """Order something, if a person approves."""
    return f"ordered {what}"


@tool(external=True)
def locate() -> str:
    """Where the user is; the host knows."""
    raise AssertionError


STEPS: Final = Steps(
    [Step("begin"), Step("end", final=True)], moves=[Move("begin", "end", called("look"))], guidance_limit=0
)


def script(request: ChatRequest) -> AssistantMessage:
    """The answer by what was last said."""
    last = request.messages[-1]
    if "order some" in last:
        return calls(
            ("order", {"what": "tea"}), ("order", {"what": "a yacht"}), ("locate", {}), ("look", {"what": "c"})
        )
    if not request.tools:
        return says("The user looked at the sea.")  # the note of a compaction
    if "look, pay and look" in last:
        return calls(("look", {"what": "a"}), ("pay", {"amount": 120}), ("look", {"what": "b"}))
    if "look" in last and '"user"' in last:
        return calls(("look", {"what": "the sea"}))
    if "fail" in last:
        raise ModelServerError("the endpoint is down", status=503)
    return says("Answered. \N{GRINNING FACE}")


async def fill(path: str) -> None:
    llm = ScriptedLLM([script] * 100, usage=lambda request, answer: BIG)
    loop = StatefulAgentLoop(
        llm=llm,
        db_path=path,
        tools=[look, pay, order, locate],
        config=AgentLoopConfig(system_prompt="Be exact.", context_window=1200, compact_at=0.7, steps=STEPS),
    )
    await loop.create_session("idle", metadata={"customer": "ACME"})
    for text in ("look at the sea", "and on", "and on again", "the last"):
        await loop.send(f"{text}: {'word ' * 100}", "idle", request_id=text)
    await loop.create_session("failed")
    with suppress(ModelError):
        await loop.send([{"type": "text", "text": "fail"}], "failed")
    await loop.create_session("asked", approvals={"pay": "always"})
    await loop.send("order some", "asked")
    await loop.approve("asked", "call_0", arguments={"what": "coffee"}, by="ann")
    await loop.create_session("in tools", parent="idle")
    store = await open_store(path)
    said = Input(session=SessionId("in tools"), body='{"role":"user","content":"and the weather?"}', request_id="later")
    await store.queue_input(said)
    await store.aclose()
    await loop.send("look, pay and look", "in tools", request_id="order 7")


def main() -> None:
    if len(sys.argv) == 2:
        asyncio.run(fill(sys.argv[1]))
        return
    version = len(migrating.load(migrating.folder("sqlite")))
    target = FOLDER / f"schema_{version:04d}.db"
    assert not target.exists(), f"{target.name} is released and stays as it is"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.db"
        pid = os.spawnl(os.P_NOWAIT, sys.executable, sys.executable, "-m", "tests.corpus.make", str(path))
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        target.write_bytes(path.read_bytes())


if __name__ == "__main__":
    main()
