"""The kit's own eyes on a loop: every tool entered and left, every request to the model, whatever the app does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from llm_client.service import Answer, ChatRequest, ChecksMessages, LLMService, StreamEvent
from power_loop.testing.crash.place import append
from power_loop.testing.model import body_of
from power_loop.testing.protocol import ApiError, check_request
from power_loop.tools import Done, NotDone, Tool, ToolContext, encoded

Reached = Callable[[str], None]


class WatchedModel:
    """Passes everything on, and notes each request before it goes out and what came of it."""

    def __init__(self, model: LLMService, path: Path, by: str) -> None:
        self._model, self._path, self._by = model, path, by

    @property
    def model(self) -> str:
        return self._model.model

    @property
    def replay_reasoning(self) -> bool:
        return self._model.replay_reasoning

    def check_message(self, message: str) -> None:
        inner: object = self._model
        if isinstance(inner, ChecksMessages):
            inner.check_message(message)

    async def complete(self, request: ChatRequest) -> Answer:
        self._asked(request)
        try:
            answer = await self._model.complete(request)
        except Exception as error:
            self._failed(error)
            raise
        self._answered()
        return answer

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        self._asked(request)
        try:
            async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Answer):
                        self._answered()
                    yield event
        except Exception as error:
            self._failed(error)
            raise

    async def aclose(self) -> None:
        await self._model.aclose()

    def _asked(self, request: ChatRequest) -> None:
        body = body_of(request, self._model.model)
        try:
            check_request(body)
            refusal = None
        except ApiError as refused:
            refusal = str(refused)
        line = {"event": "asked", "by": self._by, "tools": bool(request.tools), "messages": body["messages"]}
        append(self._path, line | {"refusal": refusal})

    def _answered(self) -> None:
        append(self._path, {"event": "answered", "by": self._by})

    def _failed(self, error: Exception) -> None:
        told = {"error": f"{type(error).__name__}: {error}", "code": getattr(error, "code", None)}
        append(self._path, {"event": "failed", "by": self._by, **told})


def watched(tool: Tool, path: Path, reached: Reached, in_doubt: str) -> Tool:
    """The tool, whose every run is on disk before its function is entered and after it returned."""
    enter = _entered_async if tool.is_async else _entered
    return replace(
        tool,
        function=partial(enter, tool, _Runs(path, reached, in_doubt)),
        context="the context of the call",
        context_first=True,
        reconcile=None if tool.reconcile is None else _reconciling(tool, path),
    )


class _Runs:
    """Writes down the runs of one process's tools."""

    def __init__(self, path: Path, reached: Reached, in_doubt: str) -> None:
        self._path, self._reached, self._in_doubt = path, reached, in_doubt

    def begins(self, tool: Tool, context: ToolContext) -> None:
        self._reached(f"tool.{tool.name}.entered")
        append(self._path, {"event": "start", "in_doubt": self._in_doubt, **_call(tool, context)})
        self._reached(f"tool.{tool.name}.started")

    def ends(self, tool: Tool, context: ToolContext, result: object) -> None:
        append(self._path, {"event": "end", "result": encoded(result), **_call(tool, context)})
        self._reached(f"tool.{tool.name}.ended")

    def raised(self, tool: Tool, context: ToolContext, error: BaseException) -> None:
        append(self._path, {"event": "raised", "error": type(error).__name__, **_call(tool, context)})


def _entered(tool: Tool, runs: _Runs, context: ToolContext, /, **passed: Any) -> Any:
    runs.begins(tool, context)
    try:
        result = _function(tool, context, passed)
    except BaseException as error:
        runs.raised(tool, context, error)
        raise
    if inspect.isawaitable(result):
        return _awaited(tool, runs, context, result)
    runs.ends(tool, context, result)
    return result


async def _entered_async(tool: Tool, runs: _Runs, context: ToolContext, /, **passed: Any) -> Any:
    runs.begins(tool, context)
    return await _awaited(tool, runs, context, _function(tool, context, passed))


async def _awaited(tool: Tool, runs: _Runs, context: ToolContext, result: Awaitable[Any]) -> Any:
    try:
        value = await result
    except (Exception, asyncio.CancelledError) as error:
        runs.raised(tool, context, error)
        raise
    runs.ends(tool, context, value)
    return value


def _function(tool: Tool, context: ToolContext, passed: dict[str, Any]) -> Any:
    if tool.context is None:
        return tool.function(**passed)
    if tool.context_first:
        return tool.function(context, **passed)
    return tool.function(**passed, **{tool.context: context})


def _reconciling(tool: Tool, path: Path) -> Callable[[ToolContext, dict[str, Any]], Awaitable[Any]]:
    """Its reconcile function, whose answers are noted: they license another run, or a result without one.

    Always async; a sync one of the app's runs in a thread, as it would under the loop.
    """
    ask = tool.reconcile
    assert ask is not None

    async def reconcile(context: ToolContext, arguments: dict[str, Any]) -> Any:
        said: Any
        if inspect.iscoroutinefunction(ask):
            said = await ask(context, arguments)
        else:
            said = await asyncio.to_thread(ask, context, arguments)
            said = await said if inspect.isawaitable(said) else said
        told: dict[str, Any] = {"event": "reconcile", "said": type(said).__name__}
        if isinstance(said, Done):
            told["result"] = encoded(said.result)
        append(path, told | {"not_done": isinstance(said, NotDone)} | _call(tool, context))
        return said

    return reconcile


def _call(tool: Tool, context: ToolContext) -> dict[str, Any]:
    return {
        "tool": tool.name,
        "session": context.session_id,
        "key": context.idempotency_key,
        "call": context.call_id,
        "attempt": context.attempt,
    }
