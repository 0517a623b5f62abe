"""Pydantic AI; it has no store, its history is the list it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer


class PydanticAi(Peer):
    title = "Pydantic AI"
    packages = ("pydantic-ai-slim[openai]==2.68.0", "openai==3.57.0")
    setting = "keeps nothing"
    stores = False

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        from pydantic_ai import Agent, Tool

        model = _in_process() if url is None else _over_http(url)
        self._agent: Any = Agent(model, tools=[Tool(c.forecast)])
        self._sessions: dict[int, Any] = {}

    async def turn(self, session: int) -> None:
        text = c.question(self.next_number())
        done = await self._agent.run(text, message_history=self._sessions.get(session))
        self._sessions[session] = done.all_messages()


def _in_process() -> Any:
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    async def answer(messages: list[Any], info: Any) -> Any:
        last = messages[-1].parts[-1].content
        if c.after_results(last):
            return ModelResponse(parts=[TextPart(c.ANSWER)])
        return ModelResponse(
            parts=[
                ToolCallPart(tool_name=name, args=arguments, tool_call_id=key)
                for key, name, arguments in c.calls(c.number_in(last))
            ]
        )

    return FunctionModel(answer)


def _over_http(url: str) -> Any:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(c.MODEL, provider=OpenAIProvider(base_url=url, api_key="bench"))


PEER = PydanticAi
