"""What the tests of large results share."""

from __future__ import annotations

import json
from typing import Any, Final

from llm_client.service import ChatRequest
from power_loop import StatefulAgentLoop, Tool, tool

LIMIT: Final = 500


def giving(text: object, **options: Any) -> Tool:
    """A tool whose result is this."""

    @tool(**{"effect": "read", **options})
    def look() -> Any:
        """Looks."""
        return text

    return look


def results(request: ChatRequest) -> list[str]:
    parsed = [json.loads(text) for text in request.messages]
    return [message["content"] for message in parsed if message["role"] == "tool"]


def offered(request: ChatRequest) -> list[str]:
    return [json.loads(text)["function"]["name"] for text in request.tools]


async def looked(loop: StatefulAgentLoop, session: str = "s") -> str:
    """Let the model look once; what it was shown."""
    await loop.create_session(session)
    await loop.send("look", session)
    return (await loop.get_messages(session))[-2].text
