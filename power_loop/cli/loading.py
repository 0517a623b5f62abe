"""What a turn needs from outside: tools by name, a model by its settings."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence

from llm_client import OpenAIChatService
from llm_client.errors import ModelSettingsError
from llm_client.settings import from_environment
from power_loop.errors import NotConfiguredError, ToolDefinitionError
from power_loop.store.records import SessionInfo
from power_loop.tools import Tool, ToolRegistry


def load_tools(names: Sequence[str]) -> ToolRegistry:
    """The tools at each MODULE:NAME: a tool, a list of tools or a `ToolRegistry`. Modules are also sought where we are.

    Raises:
        ToolDefinitionError: a name leads nowhere, or to no tools; or two tools share a name.
    """
    registry = ToolRegistry()
    for name in names:
        for tool in _at(name):
            registry.add(tool)
    return registry


def _at(name: str) -> Iterable[Tool]:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ToolDefinitionError(name, "is not MODULE:NAME", "write it like --tools my_agent.tools:all_tools")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
        for step in attribute.split("."):
            found = getattr(found, step)
    except AttributeError as error:
        raise ToolDefinitionError(name, f"cannot be loaded ({error})", "check the name") from error
    except Exception as error:
        raise ToolDefinitionError(
            name, f"cannot be imported ({type(error).__name__}: {error})", "check the module, or go where it is found"
        ) from error
    if isinstance(found, Tool):
        return [found]
    if isinstance(found, Iterable) and not isinstance(found, str | bytes | dict):
        return list(found)
    raise ToolDefinitionError(
        name, f"is a {type(found).__name__}", "name a function made with @tool, a list of such, or a ToolRegistry"
    )


def check_tools(info: SessionInfo, tools: ToolRegistry, without: bool) -> None:
    """Refuse to go on where calls would be answered with "no such tool" only because nobody brought the tool.

    Raises:
        NotConfiguredError: the tool of an open call is missing, and the caller did not say that this is meant.
    """
    needed = (call for call in info.pending if not (call.waits and call.decision != "approved"))
    missing = list(dict.fromkeys(call.name for call in needed if call.name not in tools))
    if missing and not without:
        raise NotConfiguredError(
            f"the tools of the open calls ({', '.join(missing)})",
            "give --tools MODULE:NAME, or say --without-tools to have the model told that there are none",
        )


def model_service(model: str | None, base_url: str | None) -> OpenAIChatService:
    """The model of an OpenAI-compatible endpoint; its key comes from the environment only.

    Raises:
        ModelSettingsError: a setting is missing or cannot work.
    """
    missing = []
    if not (model or from_environment("MODEL")):
        missing.append("no model: give --model NAME, or set POWER_LOOP_MODEL or OPENAI_MODEL")
    if not from_environment("API_KEY"):
        missing.append("no key: set POWER_LOOP_API_KEY or OPENAI_API_KEY (to any text for an endpoint without keys)")
    if missing:
        raise ModelSettingsError("; ".join(missing))
    return OpenAIChatService.from_env(model=model, base_url=base_url)
