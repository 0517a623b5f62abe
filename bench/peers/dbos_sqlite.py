"""DBOS on SQLite: a workflow a turn; each request and each tool is a step, whose result is kept.

Leaner than most would write it: a workflow's input and result are what is new in its turn, and the history is put
together from those of the turns before, here from memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer
from bench.peers.sockets import in_process


class DbosSqlite(Peer):
    title = "DBOS, SQLite"
    packages = ("dbos==3.4.0", "openai==3.57.0")
    setting = "WAL (its default is a rollback journal), synchronous=FULL"
    equally_durable = True

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        from dbos import DBOS, SetWorkflowID

        path = folder / "dbos.sqlite"
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode = WAL")  # stays with the file
        db.close()
        self._dbos, self._named = DBOS, SetWorkflowID
        self._histories: dict[str, list[Any]] = {}
        self._client: Any = None
        if url is not None:
            import openai

            self._client = openai.AsyncOpenAI(api_key="bench", base_url=url, max_retries=0)
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{path}",
                "run_admin_server": False,
                "log_level": "ERROR",
            }
        )
        self._turn = self._registered()
        DBOS.launch()

    def _registered(self) -> Any:
        @self._dbos.step()
        async def ask(session: str, new: list[Any]) -> dict[str, Any]:
            messages = [*self._histories.get(session, ()), *new]
            if self._client is None:
                return await in_process(messages)
            answer = await self._client.chat.completions.create(model=c.MODEL, messages=messages, tools=[c.TOOL])
            said: dict[str, Any] = answer.choices[0].message.model_dump(exclude_none=True)
            return said

        @self._dbos.step()
        async def call(arguments: str) -> str:
            return await c.called(arguments)

        @self._dbos.workflow()
        async def turn(session: str, text: str) -> list[Any]:
            new: list[Any] = [{"role": "user", "content": text}]
            while True:
                said = await ask(session, new)
                new.append(said)
                if not said.get("tool_calls"):
                    return new
                texts = await asyncio.gather(*(call(one["function"]["arguments"]) for one in said["tool_calls"]))
                new += [c.result(one["id"], text) for one, text in zip(said["tool_calls"], texts, strict=True)]

        return turn

    async def turn(self, session: int) -> None:
        name, number = f"s{session}", self.next_number()
        with self._named(f"{name}-{number}"):
            new = await self._turn(name, c.question(number))
        self._histories.setdefault(name, []).extend(new)

    async def close(self) -> None:
        await asyncio.to_thread(self._dbos.destroy)
        if self._client is not None:
            await self._client.close()


PEER = DbosSqlite
