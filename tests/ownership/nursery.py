"""A process that forks owners by the hundred: `python -m tests.ownership.nursery DATABASE`; JSON lines in and out.

`{"race": [WAY, ...]}` starts a process a way, lets all of them go for the session at the same instant, and answers with
what each says: `won`, and then it hangs in its model until it is killed, or the code it was refused with.
`{"kill": PID}` kills one, `{"recover": N}` has N processes recover everything at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from llm_client.scripted import ScriptedLLM
from power_loop import AgentLoopConfig, PowerLoopError, StatefulAgentLoop

SESSION: Final = "fought over"
PATIENCE: Final = 60
CONFIG: Final = AgentLoopConfig(synchronous="NORMAL", max_recoveries=1000)

WAYS: Final[Mapping[str, Callable[[StatefulAgentLoop], Awaitable[Any]]]] = {
    "resume": lambda loop: loop.resume(SESSION, if_busy="raise"),
    "send": lambda loop: loop.send("mine", SESSION, if_busy="raise"),
    "abort": lambda loop: loop.send("mine", SESSION, if_busy="raise", on_pending="abort"),
    "recover": lambda loop: loop.recover("resume"),
}


def main() -> None:
    database = Path(sys.argv[1])
    asyncio.run(_made(database))
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        match json.loads(line):
            case {"race": ways}:
                told: Any = race(database, ways)
            case {"kill": pid}:
                os.kill(pid, signal.SIGKILL)
                told = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            case {"recover": number}:
                told = recovered(database, number)
        print(json.dumps(told), flush=True)


def race(database: Path, ways: list[str]) -> list[tuple[int, str]]:
    lines = [_forked(lambda line, way=way: _fight(database, way, line)) for way in ways]
    said = [(pid, told["said"]) for pid, told in _at_once(lines)]
    for pid, word in said:
        if word != "won":
            os.waitpid(pid, 0)
    return said


def recovered(database: Path, number: int) -> list[dict[str, Any]]:
    lines = [_forked(lambda line: _recover(database, line)) for _ in range(number)]
    told = [told for _, told in _at_once(lines)]
    for pid, _ in lines:
        os.waitpid(pid, 0)
    return told


def _at_once(lines: list[tuple[int, socket.socket]]) -> list[tuple[int, dict[str, Any]]]:
    """Let all go once all are ready; what each then says."""
    for _, line in lines:
        assert line.recv(8) == b"ready"
    for _, line in lines:
        line.send(b"go")
    told = [(pid, json.loads(line.recv(1 << 20))) for pid, line in lines]
    for _, line in lines:
        line.close()
    return told


def _forked(life: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    ours, its = socket.socketpair(type=socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        try:
            ours.close()
            life(its)
        finally:
            os._exit(0)
    its.close()
    return pid, ours


def _ready(line: socket.socket) -> None:
    line.send(b"ready")
    assert line.recv(8) == b"go"


def _fight(database: Path, way: str, line: socket.socket) -> None:
    async def won(request: object) -> str:
        line.send(json.dumps({"said": "won"}).encode())
        await asyncio.Event().wait()
        return ""

    async def fight() -> None:
        async with StatefulAgentLoop(llm=ScriptedLLM([won]), db_path=database, config=CONFIG) as loop:
            await loop.get_session(SESSION)
            _ready(line)
            try:
                said = repr(await WAYS[way](loop))
            except PowerLoopError as error:
                said = error.code
        line.send(json.dumps({"said": said}).encode())

    asyncio.run(fight())


def _recover(database: Path, line: socket.socket) -> None:
    async def recover() -> None:
        llm = ScriptedLLM(["here again"] * 1000)
        async with StatefulAgentLoop(llm=llm, db_path=database, config=CONFIG) as loop:
            await loop.list_sessions()
            _ready(line)
            taken = await loop.recover("resume")
            errors = [repr(entry.error) for entry in taken if entry.error is not None]
            told = {"taken": [entry.session_id for entry in taken], "errors": errors, "asked": len(llm.requests)}
        line.send(json.dumps(told).encode())

    asyncio.run(recover())


async def _made(database: Path) -> None:
    async with StatefulAgentLoop(llm=ScriptedLLM(["hello"]), db_path=database, config=CONFIG) as loop:
        await loop.create_session(SESSION)
        await loop.send("hi", SESSION)


if __name__ == "__main__":
    main()
