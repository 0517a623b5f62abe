"""A call, a configuration, a tool or a hook that cannot be; and a move that the code must never make."""

from __future__ import annotations

from collections.abc import Sequence

from llm_client.errors import PowerLoopError


class InputInvalidError(PowerLoopError):
    """An argument breaks a rule. Raised before anything is written."""

    code = "input.invalid"

    def __init__(self, what: str, problem: str, way_out: str) -> None:
        self.what, self.problem, self.way_out = what, problem, way_out
        super().__init__(f"{what} {problem}: {way_out}")


class ConfigError(PowerLoopError):
    """A configuration cannot work. All that is wrong with it is in one message."""

    code = "config.invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the configuration cannot work: " + "; ".join(problems))


class NotConfiguredError(PowerLoopError):
    """The call needs a part that this loop was built without. Raised before anything is written."""

    code = "config.missing"

    def __init__(self, needs: str, way_out: str) -> None:
        self.needs = needs
        super().__init__(f"this needs {needs}: {way_out}")


class ToolDefinitionError(PowerLoopError):
    """A tool cannot be built or registered as it is."""

    code = "tool.invalid"

    def __init__(self, tool: str, problem: str, way_out: str) -> None:
        self.tool, self.problem, self.way_out = tool, problem, way_out
        super().__init__(f"tool {tool}: {problem}; {way_out}")


class HookDefinitionError(PowerLoopError):
    """A function cannot be a hook of that point as it is. Nothing was registered."""

    code = "hook.definition"

    def __init__(self, hook: str, problem: str, way_out: str) -> None:
        self.hook, self.problem, self.way_out = hook, problem, way_out
        super().__init__(f"hook {hook}: {problem}; {way_out}")


class LoopClosedError(PowerLoopError):
    """The loop or its store was closed, or belongs to another event loop or process."""

    code = "loop.closed"


class StateError(PowerLoopError):
    """A move the state table does not have. Nothing was changed; it is a fault of the code, not of the caller."""

    code = "state.illegal"
