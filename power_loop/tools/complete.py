"""`complete`: the tool by which a model says that it is done, with what came of it."""

from __future__ import annotations

from pydantic import BaseModel

from power_loop.tools.tool import Tool
from power_loop.values import Effect


def complete_tool(output: type[BaseModel], *, name: str = "complete", description: str | None = None) -> Tool:
    """A tool whose call ends the turn: its arguments, checked against `output`, are the turn's output.

    What does not pass goes back to the model like any other wrong argument. The call runs after all others of its
    answer; of several the first that succeeds ends the turn.

    Raises:
        ToolDefinitionError: `output` is no pydantic model of an object.
    """

    def complete(result: BaseModel) -> BaseModel:
        return result

    complete.__annotations__["result"] = output
    words = description or f"Call this when you are done, with what came of it. {output.__doc__ or ''}".strip()
    return Tool.from_model(
        output, complete, name=name, description=words, effect=Effect.READ, parallel=False, ends_turn=True
    )
