"""The bare openai client as its documentation shows it: a list of messages, `chat.completions.create`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer


class OpenaiTyped(Peer):
    title = "openai client, typed method"
    setting = "keeps nothing"
    stores = False
    in_process = False

    def load(self) -> None:
        import openai

        openai.AsyncOpenAI(api_key="bench")

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        import openai

        self._client = openai.AsyncOpenAI(api_key="bench", base_url=url, max_retries=0)
        self._tools: Any = [c.TOOL]
        self._sessions: dict[int, list[Any]] = {n: list(c.history(long)) for n, long in enumerate(histories)}

    async def turn(self, session: int) -> None:
        messages = self._sessions.setdefault(session, [])
        messages.append(c.user(self.next_number()))
        while True:
            answer = await self._client.chat.completions.create(model=c.MODEL, messages=messages, tools=self._tools)
            said = answer.choices[0].message
            messages.append(said.model_dump(exclude_none=True))
            if not said.tool_calls:
                return
            texts = await asyncio.gather(*(c.called(call.function.arguments) for call in said.tool_calls))  # type: ignore[union-attr]
            messages += [c.result(call.id, text) for call, text in zip(said.tool_calls, texts, strict=True)]

    async def close(self) -> None:
        await self._client.close()


PEER = OpenaiTyped
