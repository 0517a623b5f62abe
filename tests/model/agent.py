"""An agent in a process of its own: a loop over a file, told by one socket what to do.

Its model and its tools ask over the same socket and wait for an answer: whoever holds the other end decides what each
of them says, and when. `python -m tests.model.agent FD` is the host: it forks agents, and reaps them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from llm_client.errors import ModelServerError
from llm_client.messages import AssistantMessage, ToolCall
from llm_client.scripted import ScriptedLLM
from llm_client.service import ChatRequest
from power_loop import (
    AgentLoopConfig,
    Done,
    NotDone,
    PowerLoopError,
    StatefulAgentLoop,
    StatefulResult,
    Tool,
    ToolContext,
    Unknown,
    World,
    open_store,
    tool,
)
from power_loop.store.sqlite.store import SqliteStore
from tests.model import faults

SHORT: Final = 0.02
"""The time limit of the tool `slow`, in seconds."""


COUNTED: Final = ("sql.begin", "sql.commit", "store.committed")


class Dies:
    """`reached` for a world: kills this process at the n-th point from when it was armed."""

    def __init__(self) -> None:
        self._left = 0

    def arm(self, points: int) -> None:
        self._left = points

    def __call__(self, name: str) -> None:
        # Reads happen by the clock, too; a death between two statements of one change is a death before its commit.
        if self._left and (name.startswith("loop.") or name in COUNTED):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()


class Agent:
    def __init__(self, end: socket.socket, options: dict[str, Any]) -> None:
        self._end = end
        self._options = options
        self._dies = Dies()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._asked = 0

    async def run(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._end, limit=2**22)
        options = self._options
        world = World(reached=self._dies)
        store = await open_store(options["path"], world=world)
        assert isinstance(store, SqliteStore)
        self._file = store
        if options["fault"]:
            store = faults.FAULTS[options["fault"]](store, options["path"])
        self._loop = StatefulAgentLoop(
            llm=None if options["tools"] is None else ScriptedLLM([self._model] * 10_000),
            store=store,
            tools=() if options["tools"] is None else toolbox(self, options["tools"]),
            config=AgentLoopConfig(**options["config"]),
            world=world,
        )
        self._store = store
        self._tell(ready=True)
        while line := await reader.readline():
            self._told(json.loads(line))

    def _tell(self, **what: Any) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")

    def _told(self, said: dict[str, Any]) -> None:
        if "answer" in said:
            waiting = self._answers.get(said["answer"])
            if waiting is not None and not waiting.done():
                waiting.set_result(said)
        elif "arm" in said:
            self._dies.arm(said["arm"])
            if not said["arm"]:
                self._tell(disarmed=True)
        elif "cancel" in said:
            self._tasks[said["cancel"]].cancel()
        else:
            self._tasks[said["op"]] = asyncio.create_task(self._do(said["op"], said["do"], said["with"]))

    async def ask(self, **what: Any) -> dict[str, Any]:
        """Tell the other end something and wait for what it says to that."""
        self._asked += 1
        number = self._asked
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._tell(number=number, **what)
        try:
            return await self._answers[number]
        finally:
            del self._answers[number]

    async def _model(self, request: ChatRequest) -> Any:
        # The model may be asked while a commit is on its way; the other end compares with the file, so it waits.
        while self._file._writer is not None and (idle := self._file._writer._idle) is not None:
            await idle.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # a driver that was robbed is stopped in here, before it asks in vain
        said = await self.ask(asked=list(request.messages), tools=bool(request.tools))
        if said.get("error"):
            raise ModelServerError("the endpoint is down", status=503)
        calls = [ToolCall(id=call, name=name, arguments=given) for call, name, given in said.get("calls", ())]
        return AssistantMessage(content=said["text"], tool_calls=tuple(calls))

    async def _do(self, op: int, name: str, given: dict[str, Any]) -> None:
        try:
            own = {"kept": self._kept, "leave": self._leave, "told_of_input": self._told_of_input}
            done = await (own[name] if name in own else getattr(self._loop, name))(**given)
            self._tell(op=op, done=plain(done))
        except PowerLoopError as error:
            calls = [call.id for call in getattr(error, "calls", ())]
            self._tell(op=op, failed=error.code, calls=calls, words=str(error))
        except asyncio.CancelledError:
            self._tell(op=op, failed="cancelled", calls=[], words="")
        except Exception as error:  # noqa: BLE001 - it must be told, whatever it is
            self._tell(op=op, failed=f"{type(error).__name__}: {error}", calls=[], words="")
        finally:
            del self._tasks[op]

    async def _kept(self) -> dict[str, int]:
        """What is kept in memory for sessions, but for those that are warm."""
        conductor = await self._loop._open()
        return {
            "gates": len(conductor._gates),
            "running": len(conductor.runner._running),
            "turns": len(conductor.runner._turns),
            "watched": len(conductor.runner._watch._turns),
            "tasks": len(self._tasks) - 1,
        }

    async def _told_of_input(self, session: str) -> bool:
        """Wait until the turn of a session knows that input waits to steer it."""
        turns = (await self._loop._open()).runner._turns
        while not turns[session].snapshot.inputs_wait:  # type: ignore[index]  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return True

    async def _leave(self) -> str:
        """Close the loop and the store as an app does."""
        await self._loop.aclose()
        await self._store.aclose()
        return "left"


def toolbox(agent: Agent | None, which: str) -> Sequence[Tool]:
    """The tools: all, or some of them `gone` or `changed`."""

    async def entered(context: ToolContext) -> str:
        assert agent is not None
        said = await agent.ask(entered=context.call_id, key=context.idempotency_key, attempt=context.attempt)
        if said.get("error"):
            raise ValueError(said["text"])
        text: str = said["text"]
        return text

    async def reconciled(context: ToolContext, arguments: dict[str, Any]) -> Done | NotDone | Unknown:
        assert agent is not None
        said = agent._options["reconcile"]
        return Done("it happened") if said == "done" else NotDone() if said == "not" else Unknown("no record")

    def made(name: str, effect: Any, **more: Any) -> Tool:
        async def run(n: int, context: ToolContext) -> str:
            return await entered(context)

        async def other(n: int, context: ToolContext, amount: int = 3) -> str:
            return await entered(context)

        changed = which == "changed" and name in ("put", "pay")
        return tool(other if changed else run, name=name, description=name, effect=effect, **more)

    made_all = [
        made("look", "read"),
        made("put", "idempotent"),
        made("pay", "once"),
        made("slow", "once", timeout=SHORT),
        made("sure", "once", reconcile=reconciled),
    ]
    return [one for one in made_all if which != "gone" or one.name not in ("look", "pay")]


def plain(value: object) -> Any:
    """A result as JSON."""
    if isinstance(value, StatefulResult):
        pending = [call.id for call in value.pending_tool_calls]
        return {"turn": value.turn, "status": value.status, "text": value.final_text, "pending": pending,
                "reason": value.stop_reason}  # fmt: skip
    if isinstance(value, list):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and hasattr(value, "action"):
        error = value.error
        return [value.session_id, value.action, [call.id for call in value.pending], error and error.code]
    return value


def main(host: socket.socket) -> None:
    """Fork an agent for each message, and reap those that it names. One thread only, as who forks must have."""
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(host, 65536, 1)
        if not data:
            return
        said = json.loads(data)
        if "reap" in said:
            _, status = os.waitpid(said["reap"], 0)
            host.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        child = os.fork()
        if not child:
            host.close()
            try:
                asyncio.run(Agent(socket.socket(fileno=descriptors[0]), said).run())
            finally:
                os._exit(0)
        os.close(descriptors[0])
        host.send(str(child).encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
