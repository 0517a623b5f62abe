"""The tool by which a model reads results that it was shown in short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from pydantic import Field

from power_loop.tools.context import ToolContext
from power_loop.tools.define import tool
from power_loop.tools.tool import Tool
from power_loop.transcript.recall import RECALL
from power_loop.values import Effect

Reader: TypeAlias = Callable[[str, str, int, int], Awaitable[str]]
"""The part of a result: by the session that asks, the handle, offset and limit."""


def recall_tool(read: Reader, at_once: int) -> Tool:
    """`recall_output`: it reads exactly what is asked for, at most `at_once` characters; it can always run again."""
    words = (
        "Read a result of a tool that was shown in short, or cleared to save room, exactly as it was. "
        f"Gives at most {at_once:,} characters at once: go on with a larger offset."
    )

    @tool(name=RECALL, description=words, effect=Effect.READ)
    async def recall_output(
        context: ToolContext,
        handle: Annotated[str, Field(description="The handle in the text of the short result, such as 3.17.")],
        offset: Annotated[int, Field(ge=0, description="How many characters to skip at the beginning.")] = 0,
        limit: Annotated[
            int | None, Field(ge=0, description="How many characters to read; as many as can be at once if left out.")
        ] = None,
    ) -> str:
        return await read(context.session_id, handle, offset, at_once if limit is None else min(limit, at_once))

    return recall_output
