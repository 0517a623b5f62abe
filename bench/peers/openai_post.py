"""The bare openai client's low-level call with bytes joined from JSON texts, and nothing stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer
from bench.peers.sockets import results_of


class OpenaiPost(Peer):
    title = "openai client, post"
    setting = "keeps nothing"
    stores = False
    in_process = False

    def load(self) -> None:
        import openai

        openai.AsyncOpenAI(api_key="bench")

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        self.client: Any = None
        if url is not None:
            import httpx2
            import openai

            self.client = openai.AsyncOpenAI(api_key="bench", base_url=url, max_retries=0)
            self._cast: Any = httpx2.Response
        self._tools = c.text_of(c.TOOL)
        self._sessions: dict[int, list[str]] = {
            session: [c.text_of(message) for message in c.history(long)] for session, long in enumerate(histories)
        }

    def keep(self, session: int, role: str, text: str) -> None:
        """Called with each new message, before anything depends on it."""

    async def turn(self, session: int) -> None:
        texts = self._sessions.setdefault(session, [])

        def add(message: c.Message) -> None:
            text = c.text_of(message)
            self.keep(session, message["role"], text)
            texts.append(text)

        add(c.user(self.next_number()))
        while True:
            said = await self.answered(texts)
            add(said)
            if not said.get("tool_calls"):
                return
            for result in await results_of(said["tool_calls"]):
                add(result)

    async def answered(self, texts: list[str]) -> c.Message:
        if self.client is None:
            last = json.loads(texts[-1])["content"]
            return c.says() if c.after_results(last) else c.asks(c.number_in(last))
        body = f'{{"model":"{c.MODEL}","messages":[{",".join(texts)}],"tools":[{self._tools}]}}'
        answer = await self.client.post(
            "/chat/completions",
            cast_to=self._cast,
            content=body.encode(),
            options={"headers": {"Content-Type": "application/json"}},
        )
        message: c.Message = json.loads(answer.content)["choices"][0]["message"]
        return message

    async def close(self) -> None:
        if self.client is not None:
            await self.client.close()


PEER = OpenaiPost
